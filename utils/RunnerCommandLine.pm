package RunnerCommandLine;

# What run.pl and slurm.pl share: the command line
#   [options] [JOB=FIRST:LAST] LOG COMMAND [ARGUMENT...]
# and how a failure is told. After parse_command_line, @ARGV is LOG COMMAND...

use strict;
use warnings;
use Exporter qw(import);
use File::Basename qw(basename);

our @EXPORT = qw(fail parse_command_line job_name job_numbers substituted quoted
    shown_command executed_words report tail);

my $TAIL_LINES = 10;    # of a failed job's log, shown to the user

my ($job_name, $first, $last);

sub fail {
    print STDERR basename($0), ": $_[0]\n";
    exit 1;
}

# The comment at the top of the script.
sub usage {
    open my $script, '<', $0 or fail("cannot read $0: $!");
    while (<$script>) {
        next if /^#!/;
        last unless s/^# ?//;
        print;
    }
    exit 0;
}

# Take options and the job range off the front of @ARGV; calls $set_option->(NAME,
# VALUE) for each option, NAME with dashes.
sub parse_command_line {
    my ($set_option) = @_;
    my $see = 'see ' . basename($0) . ' --help';
    while (@ARGV) {
        if ($ARGV[0] =~ /^(--help|-h)$/) { usage() }
        elsif ($ARGV[0] =~ /^--([a-z][a-z_-]*)(?:=(.*))?$/s) {
            my ($name, $value) = ($1 =~ tr/_/-/r, $2);
            shift @ARGV;
            if (!defined $value) {
                fail("option --$name needs a value") if !@ARGV || $ARGV[0] =~ /^--/;
                $value = shift @ARGV;
            }
            $set_option->($name, $value);
        }
        elsif ($ARGV[0] =~ /^([A-Za-z_]\w*)=(\d+)(?::(\d+))?$/) {
            ($job_name, $first, $last) = ($1, $2, $3 // $2);
            fail("empty range of jobs: $ARGV[0]") if $last < $first;
            shift @ARGV;
        }
        elsif ($ARGV[0] =~ /^-/) { fail("unknown option $ARGV[0]; $see") }
        else                     { last }
    }
    fail("expected [options] [JOB=1:n] LOG COMMAND...; $see") if @ARGV < 2;
    if (defined $job_name && $last > $first && index($ARGV[0], $job_name) < 0) {
        fail("the jobs $first to $last would share the log $ARGV[0]; put $job_name into its name");
    }
}

# The word that stands for a job's number; undef where there is one job without.
sub job_name { return $job_name }

sub job_numbers { return defined $job_name ? ($first .. $last) : (1) }

sub substituted {
    my ($text, $number) = @_;
    $text =~ s/\Q$job_name\E/$number/g if defined $job_name;
    return $text;
}

sub quoted {
    my ($word) = @_;
    return $word if $word =~ m{^[\w./:=,\@%+-]+$};
    $word =~ s/'/'\\''/g;
    return "'$word'";
}

# A command as the first line of its log shows it.
sub shown_command {
    my @words = @_;
    my $shown = @words == 1 ? $words[0] : join ' ', map { quoted($_) } @words;
    return $shown =~ s/\n/\n# /gr;
}

# One single word is run by bash.
sub executed_words {
    my @words = @_;
    return @words == 1 ? ('bash', '-o', 'pipefail', '-c', $words[0]) : @words;
}

# The last lines of a file.
sub tail {
    my ($path) = @_;
    open my $log, '<', $path or return;
    my @tail;
    while (<$log>) {
        push @tail, $_;
        shift @tail if @tail > $TAIL_LINES;
    }
    return @tail;
}

# Tell which jobs failed, and show the end of a log.
sub report {
    my ($which, $log) = @_;
    print STDERR basename($0), ": $which; the last lines of $log:\n", map { "  $_" } tail($log);
}

1;
