#!/usr/bin/env perl
# Run a command, or numbered copies of it in parallel, on a Slurm cluster.
#
# Usage: slurm.pl [options] [JOB=FIRST:LAST] LOG COMMAND [ARGUMENT...]
#  e.g.: slurm.pl --mem 4G JOB=1:40 exp/log/fbank.JOB.log make_fbank.sh data/split40/JOB
#        slurm.pl --time 2:00:00 exp/log/count.log 'gzip -dc text.gz | wc -l'
#
# JOB (any word) is replaced by the job's number in LOG and in COMMAND. A command that is
# a single word is run by bash, with pipefail. So is one with operators among its words, as
# Kaldi's scripts write them: \| \|\| \&\& \; \& ( ) { } ! and redirections such as \>
# FILE or 2\>\&1, and VAR=value before a command. All other words reach the command as they
# are: $HOME, * and quotes in them are not expanded, and operators inside them do not count.
#
# Options:
#   --max-jobs-run N   most jobs at a time (default: as many as the cluster takes)
#   --config FILE      how options become those of sbatch (default: conf/slurm.conf
#                      here, else that of this toolkit); see there
#   --mem, --time, --num-threads, --gpu, ... VALUE   as that file describes them
#   -tc N, -pe NAME N  --max-jobs-run, --num-threads in Grid Engine's form; -l VALUE
#                      (mem_free, gpu), -q NAME, -sync y and -V are accepted too
#
# All jobs are one array. LOG begins with the command, the host and the time and ends
# with the exit status; its folder is created. Exit status: 0 if all jobs succeeded,
# else 1, with the cause (time limit, memory, cancelled, node lost) of each failure;
# on Ctrl-C or TERM the array is cancelled, and it is 128 + the signal.

use strict;
use warnings;
use Cwd qw(getcwd abs_path);
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use FindBin;
use POSIX qw(strftime);
use Text::ParseWords qw(shellwords);
use Time::HiRes qw(time sleep);
use lib $FindBin::RealBin;
use RunnerCommandLine;

my $ASK_EVERY_S    = 5;     # between two queries to the controller
my $FILE_DELAY_S   = 20;    # for a network file system to show what a job has written
my $FIND_FOR_S     = 120;   # how long to look for a job that sbatch may have submitted
my $ANSWERS_TO_BELIEVE = 7; # answers needed to believe that there is no such job
my %STOP_SIGNALS   = (HUP => 1, INT => 2, TERM => 15);
my %ALIVE = map { $_ => 1 } qw(PENDING RUNNING COMPLETING CONFIGURING SUSPENDED REQUEUED
    REQUEUE_HOLD REQUEUE_FED RESV_DEL_HOLD RESIZING EXPEDITING POWER_UP_NODE STAGE_OUT SIGNALING
    SPECIAL_EXIT STOPPED UPDATE_DB);
my %CAUSE = (
    TIMEOUT       => 'time limit reached; give more with --time',
    DEADLINE      => 'deadline reached',
    OUT_OF_MEMORY => 'out of memory; give more with --mem',
    CANCELLED     => 'cancelled',
    NODE_FAIL     => 'its node was lost',
    PREEMPTED     => 'preempted by another job',
    BOOT_FAIL     => 'its node did not boot',
);

# Variables of the job that this script runs in would contradict our job's options.
delete @ENV{grep {
    /^(?:SLURM|SLURMD|SBATCH|SRUN|SALLOC|PMI|PMIX|PMI2)_/
        && !/^SLURM_(?:CONF|CONF_SERVER|JWT|CLUSTERS|TIME_FORMAT)$/
        && !/^SBATCH_(?:ACCOUNT|PARTITION|QOS|RESERVATION|CLUSTERS|CONSTRAINT|WCKEY)$/
} keys %ENV};

my %option;
my ($config_file, $max_jobs_run, $job_name);
my $stop_signal = '';

sub set_option {
    my ($name, $value) = @_;
    if ($name eq 'max-jobs-run') {
        fail("option --max-jobs-run takes a positive number, not '$value'")
            if $value !~ /^[1-9]\d*$/;
        $max_jobs_run = $value;
    }
    elsif ($name eq 'config') { $config_file = $value }
    else                      { $option{ $name =~ tr/-/_/r } = $value }
}

# The words of the submit command, from the configuration and the options.
sub submission_words {
    my $shipped = "$FindBin::RealBin/../conf/slurm.conf";
    $config_file //= -f 'conf/slurm.conf' ? 'conf/slurm.conf' : $shipped;
    open my $file, '<', $config_file or fail("cannot read $config_file: $!");
    my (@command, %any, %exact, %known);
    while (my $line = <$file>) {
        $line =~ s/(^|\s)#.*//s;
        next if $line !~ /\S/;
        $line =~ s/^\s+|\s+$//g;
        if ($line =~ /^command\s+(.+)$/) { @command = shellwords($1) }
        elsif ($line =~ /^option\s+(\w+)=\*\s*(.*)$/) { $any{$1} = $2; $known{$1} = 1 }
        elsif ($line =~ /^option\s+(\w+)=(\S*)\s*(.*)$/) { $exact{$1}{$2} = $3; $known{$1} = 1 }
        elsif ($line =~ /^default\s+(\w+)=(.*)$/) { $option{$1} //= $2 }
        else { fail("$config_file:$.: expected command, option or default: $line") }
    }
    fail("$config_file: no line 'command sbatch ...'") if !@command;
    for my $name (sort keys %option) {
        my $value = $option{$name};
        my $words = $exact{$name}{$value} // $any{$name};
        fail("option --$name $value: not in $config_file, which has: "
                . join(', ', map { "--$_" } sort keys %known)) if !defined $words;
        push @command, map { s/\$0/$value/gr } shellwords($words);
    }
    return @command;
}

# A folder for the script and the exit statuses, beside the logs.
sub make_run_folder {
    my ($name) = @_;
    my $parent = dirname($ARGV[0]);
    $parent = dirname($parent) while defined $job_name && index($parent, $job_name) >= 0;
    my $folder = "$parent/q/$name";
    make_path($folder, { error => \my $errors });
    fail("cannot make the folder $folder") if !-d $folder;
    return abs_path($folder);
}

# Jobs would append to old logs, and fail if the log's folder is missing.
sub prepare_logs {
    for my $number (@_) {
        my $log = substituted($ARGV[0], $number);
        make_path(dirname($log), { error => \my $errors });
        unlink $log;
        open my $file, '>', $log or fail("cannot write the log $log: $!");
        close $file or fail("cannot write the log $log: $!");
    }
}

sub write_script {
    my ($folder) = @_;
    my @words = @ARGV[1 .. $#ARGV];
    my $shown_word = quoted(shown_command(@words));
    my $words = join ' ', map { quoted($_) } executed_words(@words);
    my ($place, $status) = map { quoted($_) } getcwd(), "$folder/status";
    my $replace = defined $job_name
        ? "words=(\"\${words[\@]//$job_name/\$number}\")\nshown=\${shown//$job_name/\$number}\n"
        : '';
    # With --export=PATH or NONE in a slurm.conf, Python would not find the toolkit.
    my ($modules, $programs) = map { quoted($ENV{$_} // '') } qw(PYTHONPATH PATH);
    open my $script, '>', "$folder/job.sh" or fail("cannot write $folder/job.sh: $!");
    print $script <<"END";
#!/usr/bin/env bash
[[ \${PYTHONPATH-} == $modules ]] || export PYTHONPATH=$modules PATH=$programs
number=\${SLURM_ARRAY_TASK_ID-1}
words=($words)
shown=$shown_word
$replace
printf '# %s\\n# Started at %s on %s in %s, Slurm job %s\\n#\\n' "\$shown" \\
  "\$(date '+%Y-%m-%d %H:%M:%S')" "\$(hostname)" $place "\$SLURM_JOB_ID"
cd $place || exit
"\${words[\@]}" </dev/null
code=\$?
printf '# Ended (code %d) at %s, elapsed time %d seconds\\n' "\$code" \\
  "\$(date '+%Y-%m-%d %H:%M:%S')" "\$SECONDS"
echo "\$code" >$status.\$number.partial && mv $status.\$number.partial $status.\$number
exit "\$code"
END
    close $script or fail("cannot write $folder/job.sh: $!");
}

# Run a command; returns its exit status and its output, stderr included. Ctrl-C
# does not reach it: a submission must not be interrupted.
sub capture {
    my @command = @_;
    my $process = open my $output, '-|';
    fail("cannot start a process: $!") if !defined $process;
    if (!$process) {
        setpgrp(0, 0);
        $SIG{$_} = 'DEFAULT' for keys %STOP_SIGNALS;
        open STDERR, '>&', \*STDOUT;
        no warnings 'exec';
        exec { $command[0] } @command or print "cannot run $command[0]: $!\n";
        POSIX::_exit(127);
    }
    local $/;
    my $text = <$output> // '';
    close $output;
    return ($? >> 8, $text);
}

# Submit; returns the job's id. sbatch may report a failure although the controller
# has accepted the job, which is then found by its name.
sub submit {
    my ($name, $folder, @words) = @_;
    my ($place, $path) = ($ARGV[0] =~ m{^/} ? '' : getcwd() . '/', $ARGV[0]);
    s/%/%%/g for $place, $path;
    $path =~ s/\Q$job_name\E/%a/g if defined $job_name;
    push @words, '--parsable', "--job-name=$name", '--open-mode=append', "--output=$place$path";
    my @numbers = job_numbers();
    push @words, "--array=$numbers[0]-$numbers[-1]" . (defined $max_jobs_run ? "%$max_jobs_run" : '')
        if defined $job_name;
    my ($status, $text) = capture(@words, "$folder/job.sh");
    return $1 if $status == 0 && $text =~ /^(\d+)(?:;\S+)?$/m;
    $text =~ s/\s+$//;
    fail("cannot submit: $text") if $text !~ /timed out|unable to contact|connect/i;
    print STDERR "slurm.pl: $text; looking for the job\n";
    my ($deadline, $answers) = (time + $FIND_FOR_S, 0);
    while (time < $deadline && !$stop_signal) {
        my ($failed, $ids) = capture('squeue', '-h', '-t', 'all', '-o', '%F', "--name=$name");
        return $1 if !$failed && $ids =~ /^(\d+)$/m;
        # A recovering controller answers before it has processed its queued requests.
        fail("cannot submit: $text") if !$failed && ++$answers > $ANSWERS_TO_BELIEVE;
        sleep 2;
    }
    fail("the controller does not answer; cancel with: scancel --name=$name");
}

# States of the jobs that have not been collected, by number; undef if unknown.
sub job_states {
    my ($id) = @_;
    my ($failed, $text) = capture('squeue', '-h', '-r', '-t', 'all', '-j', $id, '-o', '%K %T');
    return {} if $text =~ /Invalid job id/;
    return undef if $failed;
    my %state;
    while ($text =~ /^(\S+) (\S+)$/mg) { $state{ $1 eq 'N/A' ? 1 : $1 } = $2 }
    return \%state;
}

# Exit status and cause of a failed job, from Slurm and from its log.
sub diagnosis {
    my ($id, $number, $code) = @_;
    my $job = defined $job_name ? "${id}_$number" : $id;
    my ($failed, $text, $state);
    for (1 .. 5) {
        ($failed, $text) = capture('scontrol', '-o', 'show', 'job', $job);
        $state = $text =~ /JobState=(\w+)/ ? $1 : 'UNKNOWN';
        last if !$ALIVE{$state};
        sleep 0.5;
    }
    $code = $1 ? $1 : 128 + $2 if !defined $code && $text =~ /\bExitCode=(\d+):(\d+)/ && ($1 || $2);
    my $cause = $CAUSE{$state};
    my $last_lines = join '', tail(substituted($ARGV[0], $number));
    my $no_memory = $last_lines =~ /slurmstepd.*(oom.kill|exceeded.*memory)/is;
    $cause = $CAUSE{OUT_OF_MEMORY} if $no_memory && $state ne 'TIMEOUT';
    $cause //= 'killed, perhaps for its memory (--mem)' if defined $code && $code == 137;
    $cause //= "Slurm does not know the job any more" if $state eq 'UNKNOWN' && !defined $code;
    return ($code // 1, $cause);
}

sub stop_jobs {
    my ($id) = @_;
    print STDERR "slurm.pl: stopped by SIG$stop_signal; cancelling job $id\n";
    my ($failed, $text) = capture('scancel', $id);
    print STDERR "slurm.pl: scancel $id: $text" if $failed;
    exit 128 + $STOP_SIGNALS{$stop_signal};
}

# Exit statuses that jobs have written, by number.
sub read_statuses {
    my ($folder) = @_;
    my %status;
    opendir my $directory, $folder or return \%status;
    for my $name (readdir $directory) {
        next if $name !~ /^status\.(\d+)$/;
        my $number = $1;
        open my $file, '<', "$folder/$name" or next;
        my $line = <$file>;
        $status{$number} = $1 if defined $line && $line =~ /^(\d+)$/;
    }
    return \%status;
}

# Wait for all jobs; returns [number, exit status, cause] of those that failed.
sub wait_for {
    my ($id, $folder, @numbers) = @_;
    my %waiting = map { $_ => 1 } @numbers;
    my (@failed, %ended_since, $told);
    my ($pause, $next_question) = (0.1, time + 2);
    while (%waiting) {
        stop_jobs($id) if $stop_signal;
        my $status = read_statuses($folder);
        for my $number (grep { exists $status->{$_} } keys %waiting) {
            delete $waiting{$number};
            push @failed, [ $number, diagnosis($id, $number, $status->{$number}) ]
                if $status->{$number};
        }
        if (%waiting && time >= $next_question) {
            $next_question = time + $ASK_EVERY_S;
            my $states = job_states($id);
            print STDERR "slurm.pl: the controller does not answer; still waiting\n"
                if !$states && !$told++;
            for my $number ($states ? keys %waiting : ()) {
                my $state = $states->{$number} // 'FORGOTTEN';
                if ($ALIVE{$state}) { delete $ended_since{$number}; next }
                $ended_since{$number} //= time;
                my $delay = $state =~ /COMPLETED|FORGOTTEN/ ? $FILE_DELAY_S : 0.5;
                $next_question = time + 1;
                next if time < $ended_since{$number} + $delay;
                delete $waiting{$number};
                push @failed, [ $number, end_of_lost($id, $number) ] if $state ne 'COMPLETED';
            }
        }
        sleep $pause if %waiting;
        $pause = $pause * 1.2 < 1 ? $pause * 1.2 : 1;
    }
    return sort { $a->[0] <=> $b->[0] } @failed;
}

# Complete the log of a job that could not record its own end.
sub end_of_lost {
    my ($id, $number) = @_;
    my ($code, $cause) = diagnosis($id, $number);
    $cause //= "exit status $code";
    open my $log, '>>', substituted($ARGV[0], $number) or return ($code, $cause);
    my $now = strftime('%Y-%m-%d %H:%M:%S', localtime);
    print $log "# Ended (code $code) at $now: $cause\n";
    return ($code, $cause);
}

# The failed jobs and why they failed, in words.
sub failures {
    my ($count, @failed) = @_;
    my %numbers_of;
    push @{ $numbers_of{ $_->[2] // "exit status $_->[1]" } }, $_->[0] for @failed;
    my $causes = join '; ', map {
        $count == 1 ? $_ : join(', ', @{ $numbers_of{$_} }) . " ($_)"
    } sort { $numbers_of{$a}[0] <=> $numbers_of{$b}[0] } keys %numbers_of;
    return $count == 1 ? "the command failed: $causes" : @failed . " of $count jobs failed: $causes";
}

parse_command_line(\&set_option);
$job_name = job_name();
my @words = submission_words();
for my $name (keys %STOP_SIGNALS) {
    $SIG{$name} = sub { $stop_signal = $name };
}
my @numbers = job_numbers();
my $name = basename($ARGV[0]) =~ s/\.log$//r;
$name =~ s/\.?\Q$job_name\E// if defined $job_name;
$name =~ s/[^\w.-]/_/g;
$name = sprintf '%s.%d.%04x', $name, $$, int rand 65536;
prepare_logs(@numbers);
my $folder = make_run_folder($name);
write_script($folder);
my $id = submit($name, $folder, @words);
my @failed = wait_for($id, $folder, @numbers);
if (@failed) {
    report(failures(scalar @numbers, @failed), substituted($ARGV[0], $failed[0][0]));
    exit 1;
}
remove_tree($folder);
rmdir dirname($folder);
exit 0;
