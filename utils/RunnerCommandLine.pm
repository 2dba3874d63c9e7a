package RunnerCommandLine;

# What run.pl and slurm.pl share: the command line
#   [options] [JOB=FIRST:LAST] LOG COMMAND [ARGUMENT...]
# and how a failure is reported. After parse_command_line, @ARGV is LOG COMMAND...

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

# Options of Grid Engine, translated: -tc N, -pe NAME N, -l mem_free=4G. A queue (-q) exists
# nowhere else, and every runner waits for its jobs (-sync).
sub take_old_option {
    my ($letter, $set_option) = @_;
    my @given = splice @ARGV, 0, $letter eq 'pe' ? 3 : 2;
    fail("option -$letter needs a value") if @given < ($letter eq 'pe' ? 3 : 2);
    if    ($letter eq 'tc') { $set_option->('max-jobs-run', $given[1]) }
    elsif ($letter eq 'pe') { $set_option->('num-threads', $given[2]) }
    elsif ($letter eq 'l') {
        $given[1] =~ /\b(?:mem_free|ram_free|h_vmem)=([^,]+)/ and $set_option->('mem', $1);
        $given[1] =~ /\bgpu=(\d+)/ and $set_option->('gpu', $1);
    }
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
            fail("$ARGV[0]: job numbers begin at 1") if $first < 1;
            shift @ARGV;
        }
        elsif ($ARGV[0] eq '-V') { shift @ARGV }
        elsif ($ARGV[0] =~ /^-(tc|l|q|sync|pe)$/) { take_old_option($1, $set_option) }
        elsif ($ARGV[0] =~ /^-/) { fail("unknown option $ARGV[0]; $see") }
        else                     { last }
    }
    fail("expected [options] [JOB=1:n] LOG COMMAND...; $see") if @ARGV < 2;
    if (defined $job_name && $last > $first && index($ARGV[0], $job_name) < 0) {
        fail("the jobs $first to $last would share the log $ARGV[0]; put $job_name into its name");
    }
}

# The word that stands for a job's number; undef for a single job without a number.
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

# Words that bash reads as operators when they are separate words: pipes, lists, groups and
# redirections. A word such as <unk> is not one of them.
my $JOINING  = qr/^(?:\|&?|\|\||&&?|;)$/;
my $GROUPING = qr/^[(){}!]$/;
my $REDIRECTION = qr/^(?:\d*(?:>>|>\||>|<)|&>>?)(?:&?[^<>&|;]*[^<>&|;\s]|&-)?$/;
# Commands that exist only in a shell.
my $BUILTIN = qr/^(?:\.|source|cd|exit|exec|export|set|unset|ulimit|umask|wait|trap|command)$/;

# The words of a command for bash, if it needs one: bash's own words as they are, the others
# quoted. undef if the words can be run as they are.
sub command_line {
    my ($needed, $at_start, @line) = (0, 1);
    for my $word (map { /^([^\s'"]+);$/ ? ($1, ';') : $_ } @_) {
        if ($word =~ $JOINING || ($word =~ $GROUPING && $at_start) || $word =~ /^[)}]$/ && $needed) {
            push @line, $word;
            ($needed, $at_start) = (1, $word !~ /^[)}]$/);
        }
        elsif ($word =~ $REDIRECTION) {
            my ($operator, $target) = $word =~ /^(\d*(?:>>|>\||>|<)|&>>?)(.*)$/s;
            push @line, $operator . ($target =~ /^&/ || $target eq '' ? $target : quoted($target));
            $needed = 1;
        }
        elsif ($at_start && $word =~ /^([A-Za-z_]\w*=)(.*)$/s) {
            push @line, $1 . ($2 eq '' ? '' : quoted($2));
            $needed = 1;
        }
        else {
            $needed = 1 if $at_start && $word =~ $BUILTIN;
            push @line, quoted($word);
            $at_start = 0;
        }
    }
    return $needed ? join(' ', @line) : undef;
}

# A command as the first line of its log shows it.
sub shown_command {
    my @words = @_;
    my $shown = @words == 1 ? $words[0]
        : command_line(@words) // join ' ', map { quoted($_) } @words;
    return $shown =~ s/\n/\n# /gr;
}

# A single word, and words with operators among them, are run by bash.
sub executed_words {
    my @words = @_;
    my $line = @words == 1 ? $words[0] : command_line(@words);
    return defined $line ? ('bash', '-o', 'pipefail', '-c', $line) : @words;
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

# Report which jobs failed, and show the end of a log.
sub report {
    my ($which, $log) = @_;
    print STDERR basename($0), ": $which; the last lines of $log:\n", map { "  $_" } tail($log);
}

1;
