#!/usr/bin/env perl
# Replace words of a table as a map says.
# Usage: apply_map.pl [-f FIELDS] [--permissive] MAP < TABLE > MAPPED
#  e.g.: apply_map.pl -f 2- words_to_phones.txt < text > phones
# A line of MAP is a word and what it becomes: any number of words, or none.
#   -f FIELDS      only these words of a line: 2, 2-4, 2- or -4 (default: all)
#   --permissive   a word that the map lacks stays as it is, with a warning; it is an
#                  error otherwise
# The words that come out are separated by one blank.
use strict;
use warnings;

sub fail { print STDERR "apply_map.pl: $_[0]\n"; exit 1 }

sub usage {
    open my $script, '<', $0 or fail("cannot read $0: $!");
    <$script>;
    while (<$script>) { s/^# ?// or last; print }
    exit 0;
}

my ($first, $last, $permissive) = (1, undef, 0);
while (@ARGV && $ARGV[0] =~ /^-./) {
    my $option = shift @ARGV;
    if    ($option =~ /^(--help|-h)$/) { usage() }
    elsif ($option eq '--permissive')  { $permissive = 1 }
    elsif ($option eq '-f') {
        my $fields = shift @ARGV // '';
        $fields =~ /^(\d*)([-:]?)(\d*)$/ && "$1$3" ne ''
            or fail("-f '$fields': expected fields such as 2, 2-4, 2- or -4");
        ($first, $last) = $2 ? ($1 eq '' ? 1 : $1, $3 eq '' ? undef : $3) : ($fields, $fields);
        fail("-f $fields: fields are counted from 1, and the first one comes first")
            if $first < 1 || defined $last && $last < $first;
    }
    else { fail("unknown option $option; see apply_map.pl --help") }
}
fail('expected one MAP; the table comes from stdin; see apply_map.pl --help') if @ARGV != 1;

my %becomes;
my $map = $ARGV[0];
open my $lines, '<', $map or fail("cannot read $map: $!");
while (<$lines>) {
    my ($word, @to) = split or fail("$map:$.: the line is blank");
    fail("$map:$.: '$word' appears here a second time") if exists $becomes{$word};
    $becomes{$word} = join ' ', @to;
}
close $lines or fail("cannot read $map: $!");

my %unknown;
while (my $line = <STDIN>) {
    my @words = split ' ', $line;
    my $end = defined $last && $last < @words ? $last : scalar @words;
    for my $word (@words[ $first - 1 .. $end - 1 ]) {
        if (exists $becomes{$word}) { $word = $becomes{$word} }
        elsif (!$permissive)        { fail("line $.: '$word' is not in $map") }
        else                        { $unknown{$word}++ }
    }
    print join(' ', grep { $_ ne '' } @words), "\n";
}
close STDIN or fail("cannot read stdin: $!");
my @unknown = sort keys %unknown;
print STDERR "apply_map.pl: warning: not in $map, left as they are: ", scalar @unknown,
    " words, such as '$unknown[0]'\n" if @unknown;
close STDOUT or fail("cannot write: $!");
