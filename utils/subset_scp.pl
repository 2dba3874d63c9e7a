#!/usr/bin/env perl
# Choose some lines of a table, evenly spread.
# Usage: subset_scp.pl [--quiet] [--first|--last] NUMBER [TABLE] > PART    (or from stdin)
#  e.g.: subset_scp.pl 100 data/train/wav.scp > hundred.scp
#   --first   the first lines instead
#   --last    the last lines instead
#   --quiet   take all lines of a table that has too few, without an error
use strict;
use warnings;

sub fail { print STDERR "subset_scp.pl: $_[0]\n"; exit 1 }

sub usage {
    open my $script, '<', $0 or fail("cannot read $0: $!");
    <$script>;
    while (<$script>) { s/^# ?// or last; print }
    exit 0;
}

my ($quiet, $where) = (0, 'spread');
while (@ARGV && $ARGV[0] =~ /^-./) {
    my $option = shift @ARGV;
    if    ($option =~ /^(--help|-h)$/)      { usage() }
    elsif ($option eq '--quiet')            { $quiet = 1 }
    elsif ($option =~ /^--(first|last)$/)   {
        fail("--first and --last: give one of them") if $where ne 'spread' && $where ne $1;
        $where = $1;
    }
    else { fail("unknown option $option; see subset_scp.pl --help") }
}
fail('expected NUMBER [TABLE]; see subset_scp.pl --help') if @ARGV < 1 || @ARGV > 2;
my $number = shift @ARGV;
fail("'$number': expected how many lines, 1 or more") if $number !~ /^[1-9]\d{0,17}$/;
my $table = $ARGV[0] // '-';
my $file  = \*STDIN;
if ($table ne '-') { open $file, '<', $table or fail("cannot read $table: $!") }
my @lines = <$file>;
close $file or fail("cannot read $table: $!");
if ($number > @lines) {
    fail("$table has " . @lines . " lines, fewer than $number") if !$quiet;
    $number = @lines;
}

# Choose as Kaldi does: a stretch is halved, and so is the wanted number of its lines;
# if one of them is odd, the second half gets more.
sub spread {
    my @open = ([ 0, scalar @lines, $number ]);
    my @chosen;
    while (my $stretch = pop @open) {
        my ($start, $end, $wanted) = @$stretch;
        next if $wanted == 0;
        if ($wanted == $end - $start) { push @chosen, @lines[ $start .. $end - 1 ]; next }
        my $middle = $start + int(($end - $start) / 2);
        my $first  = int($wanted / 2);
        push @open, [ $middle, $end, $wanted - $first ], [ $start, $middle, $first ];
    }
    return @chosen;
}

print $where eq 'first' ? @lines[ 0 .. $number - 1 ]
    : $where eq 'last' ? @lines[ @lines - $number .. $#lines ] : spread();
close STDOUT or fail("cannot write: $!");
