#!/usr/bin/env perl
# Divide a table into parts of consecutive lines, as equal as possible.
# Usage: split_scp.pl [--utt2spk=FILE] TABLE PART...
#        split_scp.pl [--utt2spk=FILE] [--one-based] -j JOBS JOB TABLE [PART]
#  e.g.: split_scp.pl --utt2spk=data/train/utt2spk data/train/wav.scp wav.1.scp wav.2.scp
#        split_scp.pl --one-based -j 4 1 data/train/wav.scp > wav.1.scp
#   --utt2spk=FILE   keep the utterances of a speaker together
#   -j JOBS JOB      write only part JOB of JOBS (to stdout if no PART is named)
#   --one-based      JOB counts from 1 instead of from 0
# A file - is stdin or stdout. No part is ever empty: too many parts are an error.
use strict;
use warnings;

sub fail { print STDERR "split_scp.pl: $_[0]\n"; exit 1 }

sub usage {
    open my $script, '<', $0 or fail("cannot read $0: $!");
    <$script>;
    while (<$script>) { s/^# ?// or last; print }
    exit 0;
}

my ($table_of_speakers, $jobs, $job, $one_based);
while (@ARGV && $ARGV[0] =~ /^-./) {
    my $option = shift @ARGV;
    if    ($option =~ /^(--help|-h)$/)      { usage() }
    elsif ($option =~ /^--utt2spk=(.+)$/)   { $table_of_speakers = $1 }
    elsif ($option eq '--utt2spk' && @ARGV) { $table_of_speakers = shift @ARGV }
    elsif ($option eq '--one-based')        { $one_based = 1 }
    elsif ($option eq '-j') {
        ($jobs, $job) = splice @ARGV, 0, 2;
        fail('-j needs the number of jobs and the number of this job')
            if !defined $job || $jobs !~ /^[1-9]\d{0,8}$/ || $job !~ /^\d{1,9}$/;
    }
    else { fail("unknown option $option; see split_scp.pl --help") }
}
fail('--one-based needs -j JOBS JOB') if $one_based && !defined $jobs;
if (defined $jobs) {
    my $lowest = $one_based ? 1 : 0;
    fail("-j $jobs $job: expected a job from $lowest to " . ($jobs - 1 + $lowest))
        if $job < $lowest || $job > $jobs - 1 + $lowest;
    $job -= $lowest;
    fail('expected TABLE [PART] after -j JOBS JOB; see split_scp.pl --help')
        if @ARGV < 1 || @ARGV > 2;
}
elsif (@ARGV < 2) { fail('expected TABLE PART...; see split_scp.pl --help') }
my ($table, @parts) = @ARGV;

sub lines_of {
    my ($path) = @_;
    my $is_stdin = $path eq '-';
    my $file;    # not STDIN itself: to open that would close what is piped in
    if ($is_stdin) { $file = \*STDIN }
    else           { open $file, '<', $path or fail("cannot read $path: $!") }
    my @lines = <$file>;
    $is_stdin or close $file or fail("cannot read $path: $!");
    $lines[-1] =~ s/\n?\z/\n/ if @lines;    # by speaker, it may go before others
    return @lines;
}

# Groups that must stay together: single lines, or the lines of each speaker.
sub groups_of {
    my @lines = @_;
    return map { [$_] } @lines if !defined $table_of_speakers;
    my (%speaker_of, %group, @order);
    for (lines_of($table_of_speakers)) {
        my ($utterance, $speaker) = split;
        fail("$table_of_speakers: expected 'utterance speaker', found: $_") if !defined $speaker;
        $speaker_of{$utterance} = $speaker;
    }
    for (@lines) {
        my ($utterance) = split;
        fail("$table: a line is blank") if !defined $utterance;
        my $speaker = $speaker_of{$utterance}
            // fail("$table: '$utterance' is not in $table_of_speakers");
        push @order, $speaker if !$group{$speaker};
        push @{ $group{$speaker} }, $_;
    }
    return map { $group{$_} } @order;
}

# Single lines: sizes differ by at most one, and the first parts are the longer ones. Speakers:
# each part ends where the sum of lines is nearest to its share.
sub divided {
    my ($count, @groups) = @_;
    my $total = 0;
    $total += @$_ for @groups;
    my ($done, $smaller, @parts) = (0, int($total / $count));
    for my $number (1 .. $count) {
        my $longer = $total % $count;
        my $goal   = defined $table_of_speakers ? $total * $number / $count
            : $smaller * $number + ($number < $longer ? $number : $longer);
        my @part;
        my $left = $count - $number;    # parts that need a group each
        while (@groups > $left) {
            my $size = @{ $groups[0] };
            last if @part && $left && $done + $size - $goal > $goal - $done;
            push @part, @{ shift @groups };
            $done += $size;
        }
        push @parts, \@part;
    }
    return @parts;
}

my @groups = groups_of(lines_of($table));
my $count  = $jobs // @parts;
my $what   = defined $table_of_speakers ? 'speakers' : 'lines';
fail("$table has " . @groups . " $what, too few for $count parts") if @groups < $count;
my @divided = divided($count, @groups);
@divided = $divided[$job] if defined $jobs;
@parts   = ('-') if !@parts;
for my $number (0 .. $#parts) {
    my $path = $parts[$number];
    my $file;
    if ($path eq '-') { $file = \*STDOUT }
    else              { open $file, '>', $path or fail("cannot write $path: $!") }
    print $file @{ $divided[$number] } or fail("cannot write $path: $!");
    close $file or fail("cannot write $path: $!");
}
