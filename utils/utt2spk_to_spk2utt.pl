#!/usr/bin/env perl
# Turn a table utt2spk into spk2utt. Speakers come in the order of their first line.
# Usage: utt2spk_to_spk2utt.pl [UTT2SPK] > SPK2UTT    (or from stdin)
use strict;
use warnings;

my (%utterances, %seen, @speakers);
while (<>) {
    my @words = split;
    @words == 2 or die "$ARGV:$.: expected 'utterance speaker', found: $_";
    my ($utterance, $speaker) = @words;
    !$seen{$utterance}++ or die "$ARGV:$.: '$utterance' appears here a second time\n";
    push @speakers, $speaker if !$utterances{$speaker};
    push @{ $utterances{$speaker} }, $utterance;
}
continue { close ARGV if eof }    # counts the lines of each file anew
print "$_ @{ $utterances{$_} }\n" for @speakers;
close STDOUT or die "cannot write: $!\n";
