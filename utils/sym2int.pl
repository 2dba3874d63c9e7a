#!/usr/bin/env perl
# Replace words by their numbers in a symbol table.
# Usage: sym2int.pl [-f FIELDS] [--map-oov WORD] SYMBOLS [TABLE] > NUMBERS    (or from stdin)
#  e.g.: sym2int.pl --map-oov '<unk>' -f 2- words.txt data/train/text > text.int
# A line of SYMBOLS is a word and its number.
#   -f FIELDS        only these words of a line: 2, 2-4, 2- or -4 (default: all)
#   --map-oov WORD   a word without a number gets that of WORD, or WORD itself if it is a
#                    number; otherwise it is an error
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use SymbolTable;

my %option = options_of('sym2int.pl', '--map-oov');
my %number;
for (symbols_of($option{symbols})) {
    my ($word, $number) = @$_;
    fail("$option{symbols}: '$word' appears there a second time") if exists $number{$word};
    $number{$word} = $number;
}
my $unknown = $option{'--map-oov'};
if (defined $unknown && $unknown !~ /^\d+$/) {
    $unknown = $number{$unknown} // fail("--map-oov '$unknown': it is not in $option{symbols}");
}
my %missing;
map_fields(\%option, sub {
    my ($word, $place) = @_;
    return $number{$word} if exists $number{$word};
    fail("$place: '$word' is not in $option{symbols}; see --map-oov") if !defined $unknown;
    $missing{$word}++;
    return $unknown;
});
my @missing = sort keys %missing;
print STDERR 'sym2int.pl: warning: ', scalar @missing, " words are not in $option{symbols}, such as '$missing[0]'\n"
    if @missing;
