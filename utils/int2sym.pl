#!/usr/bin/env perl
# Replace numbers by their words in a symbol table.
# Usage: int2sym.pl [-f FIELDS] SYMBOLS [TABLE] > WORDS    (or from stdin)
#  e.g.: int2sym.pl -f 2- words.txt text.int > text
# A line of SYMBOLS is a word and its number.
#   -f FIELDS   only these words of a line: 2, 2-4, 2- or -4 (default: all)
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use SymbolTable;

my %option = options_of('int2sym.pl');
my %word;
for (symbols_of($option{symbols})) {
    my ($word, $number) = @$_;
    fail("$option{symbols}: the number $number appears there a second time") if exists $word{$number};
    $word{$number} = $word;
}
map_fields(\%option, sub {
    my ($number, $place) = @_;
    return $word{$number} // fail("$place: '$number' is not in $option{symbols}");
});
