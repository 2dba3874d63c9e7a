#!/usr/bin/env perl
# Put lines into a random order, which is the same on every machine for the same seed.
# Usage: shuffle_list.pl [--srand SEED] [TABLE] > SHUFFLED    (or from stdin)
#  e.g.: shuffle_list.pl --srand 777 data/train/utt2spk | head -100
#   --srand SEED   a number (default: 0); --srand=SEED too
# The order is that of the MD5 sums of seed, line number and line.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);

sub fail { print STDERR "shuffle_list.pl: $_[0]\n"; exit 1 }

sub usage {
    open my $script, '<', $0 or fail("cannot read $0: $!");
    <$script>;
    while (<$script>) { s/^# ?// or last; print }
    exit 0;
}

my $seed = 0;
while (@ARGV && $ARGV[0] =~ /^-./) {
    my ($option, $value) = split /=/, shift @ARGV, 2;
    if    ($option =~ /^(--help|-h)$/) { usage() }
    elsif ($option eq '--srand')       { $seed = $value // shift @ARGV // '' }
    else                               { fail("unknown option $option; see shuffle_list.pl --help") }
}
fail("--srand '$seed': expected a number") if $seed !~ /^\d+$/;
fail('expected one TABLE; see shuffle_list.pl --help') if @ARGV > 1;
my $path = $ARGV[0] // '-';
my $file = \*STDIN;
if ($path ne '-') { open $file, '<', $path or fail("cannot read $path: $!") }
my @lines = <$file>;
close $file or fail("cannot read $path: $!");
$lines[-1] =~ s/\n?\z/\n/ if @lines;    # the last one may have no end, and go before others
my $number = 0;
my @keys = map { md5_hex($seed . ' ' . $number++ . " $_") } @lines;
print @lines[ sort { $keys[$a] cmp $keys[$b] } 0 .. $#lines ];
close STDOUT or fail("cannot write: $!");
