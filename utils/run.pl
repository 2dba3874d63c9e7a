#!/usr/bin/env perl
# Run a command, or numbered copies of it in parallel, on this machine.
#
# Usage: run.pl [options] [JOB=FIRST:LAST] LOG COMMAND [ARGUMENT...]
#  e.g.: run.pl --max-jobs-run 2 JOB=1:4 exp/log/fbank.JOB.log make_fbank.sh data/split4/JOB
#        run.pl exp/log/count.log 'gzip -dc text.gz | wc -l'
#
# JOB (any word) is replaced by the job's number in LOG and in COMMAND. A command that is
# a single word is run by bash, with pipefail. So is one with operators among its words, as
# Kaldi's scripts write them: \| \|\| \&\& \; \& ( ) { } ! and redirections such as \>
# FILE or 2\>\&1, and VAR=value before a command. All other words reach the command as they
# are: $HOME, * and quotes in them are not expanded, and operators inside them do not count.
#
# Options, the same for every runner:
#   --max-jobs-run N   most jobs at a time (default: processors / num-threads)
#   --num-threads N    processors that one job uses (default: 1)
#   --show 1           also show what jobs print, besides logging it
#   --mem, --gpu, --time, --config VALUE   for clusters; no effect here
#   -tc N, -pe NAME N  --max-jobs-run, --num-threads in Grid Engine's form; -l VALUE
#                      (mem_free, gpu), -q NAME, -sync y and -V are accepted too
#
# LOG begins with the command, the host and the time and ends with the exit status;
# its folder is created. Exit status: 0 if all jobs succeeded, else 1; on Ctrl-C or TERM
# all jobs are ended by TERM, with everything they started, and killed after 3 seconds
# (RUN_PL_SECONDS_TO_FINISH in the environment) or at a second Ctrl-C; it is 128 + the signal.

use strict;
use warnings;
use Cwd qw(getcwd);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use FindBin;
use POSIX qw(strftime uname WNOHANG);
use lib $FindBin::RealBin;
use RunnerCommandLine;

# between TERM and KILL when interrupted; trainings are given longer, because they save
my $SECONDS_TO_FINISH = $ENV{RUN_PL_SECONDS_TO_FINISH} // 3;

my %STOP_SIGNALS      = (HUP => 1, INT => 2, TERM => 15);

my %option = ('max-jobs-run' => undef, 'num-threads' => 1, show => undef);
my $SHOWING = '"${@:2}" 2>&1 | tee -a "$1"; exit "${PIPESTATUS[0]}"';
my $stop_signal = '';

sub set_option {
    my ($name, $value) = @_;
    if (exists $option{$name}) {
        fail("option --$name takes a positive number, not '$value'") if $value !~ /^[1-9]\d*$/;
        $option{$name} = $value;
    }
    elsif ($name !~ /^(mem|gpu|time|config)$/) {
        print STDERR "run.pl: ignoring the option --$name $value, which this runner does not have\n";
    }
}

sub timestamp { return strftime('%Y-%m-%d %H:%M:%S', localtime) }

# Start one job in its own process group; returns what is known about it.
# Dies with a message when it cannot.
sub start_job {
    my ($number) = @_;
    my ($log_path, @command) = map { substituted($_, $number) } @ARGV;
    make_path(dirname($log_path), { error => \my $errors });
    open my $log, '>', $log_path or die "cannot write the log $log_path: $!\n";
    $log->autoflush(1);
    my $shown = shown_command(@command);
    print $log "# $shown\n# Started at ", timestamp(), ' on ', (uname())[1], ' in ', getcwd(), "\n#\n";
    close $log or die "cannot write the log $log_path: $!\n";

    my $process = fork;
    die "cannot start job $number: $!\n" if !defined $process;
    if ($process == 0) {
        setpgrp(0, 0);
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP CHLD);
        open STDIN,  '<',  '/dev/null';
        @command = executed_words(@command);
        if ($option{show}) {
            @command = ('bash', '-c', $SHOWING, 'bash', $log_path, @command);
        }
        else {
            open STDOUT, '>>', $log_path or exit 1;
            open STDERR, '>&', \*STDOUT  or exit 1;
        }
        no warnings 'exec';
        exec { $command[0] } @command
            or print STDERR "run.pl: cannot run $command[0]: $!\n";
        POSIX::_exit(127);
    }
    setpgrp($process, $process);
    return { number => $number, process => $process, log => $log_path, start => time };
}

# Write the last line of a finished job's log; returns its exit status.
sub finish_job {
    my ($job, $wait_status) = @_;
    my $signal = $wait_status & 127;
    my $status = $signal ? 128 + $signal : $wait_status >> 8;
    my $cause  = $signal ? ", killed by signal $signal" : '';
    my $line   = sprintf "# Ended (code %d%s) at %s, elapsed time %d seconds\n",
        $status, $cause, timestamp(), time - $job->{start};
    my $log;
    if (!(open($log, '>>', $job->{log}) && print({$log} $line) && close($log))) {
        print STDERR "run.pl: cannot write the log $job->{log}: $!\n";
        $status ||= 1;
    }
    return $status;
}

# Kill all jobs with everything they started, then exit.
sub stop_jobs {
    my ($running, $reason, $exit_status) = @_;
    my $patience = $SECONDS_TO_FINISH > 3
        ? ", which may take up to $SECONDS_TO_FINISH s to save; interrupt again to end them at once" : '';
    $stop_signal = '';
    print STDERR "run.pl: $reason; ending ", scalar(keys %$running), " running job(s)$patience\n";
    kill TERM => map { -$_ } keys %$running if %$running;
    my $deadline = time + $SECONDS_TO_FINISH;
    my %group = %$running;
    while (%group && time < $deadline && !$stop_signal) {
        reap(\%group, sub { });
        # A leader that has exited may leave members of its group behind.
        delete @group{ grep { !kill(0, -$_) } keys %group };
        select undef, undef, undef, 0.02;
    }
    kill KILL => map { -$_ } keys %$running if %$running;
    exit $exit_status;
}

# Collect the jobs that have ended; calls $ended->(job, wait status) for each.
sub reap {
    my ($running, $ended) = @_;
    while ((my $process = waitpid -1, WNOHANG) > 0) {
        my $status = $?;
        $ended->($running->{$process}, $status) if $running->{$process};
    }
}

sub run_jobs {
    my @waiting = @_;
    my (%running, @failed);
    my $most = $option{'max-jobs-run'};
    if (!defined $most) {
        chomp(my $processors = `nproc` || 1);
        $most = int($processors / $option{'num-threads'}) || 1;
    }
    while (@waiting || %running) {
        while (@waiting && keys %running < $most && !$stop_signal) {
            my $job = eval { start_job(shift @waiting) };
            stop_jobs(\%running, $@ =~ s/\n$//r, 1) if !$job;
            $running{ $job->{process} } = $job;
        }
        stop_jobs(\%running, "stopped by SIG$stop_signal", 128 + $STOP_SIGNALS{$stop_signal})
            if $stop_signal;
        # Woken by any signal, a job's end included.
        select undef, undef, undef, 0.1 if %running;
        reap(\%running, sub {
            my ($job, $wait_status) = @_;
            delete $running{ $job->{process} };
            push @failed, $job if finish_job($job, $wait_status) != 0;
        });
    }
    return sort { $a->{number} <=> $b->{number} } @failed;
}

# The failed jobs in words.
sub failures {
    my ($count, @failed) = @_;
    return 'the command failed' if $count == 1;
    my $numbers = join ', ', map { $_->{number} } @failed;
    return @failed . " of $count jobs failed: $numbers";
}

parse_command_line(\&set_option);
$SIG{CHLD} = sub { };
for my $name (keys %STOP_SIGNALS) {
    $SIG{$name} = sub { $stop_signal = $name };
}
my @numbers = job_numbers();
my @failed = run_jobs(@numbers);
report(failures(scalar @numbers, @failed), $failed[0]{log}) if @failed;
exit(@failed ? 1 : 0);
