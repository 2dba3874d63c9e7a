#!/usr/bin/env perl
# Turn a table utt2spk into spk2utt. Speakers come in the order of their first line.
# Usage: utt2spk_to_spk2utt.pl [UTT2SPK] > SPK2UTT    (or from stdin)
#  e.g.: utt2spk_to_spk2utt.pl data/train/utt2spk > data/train/spk2utt
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Tables qw(usage_if_asked read_tables);

usage_if_asked();
my (%utterances, %seen, @speakers);
read_tables(sub {
    my ($line, $place) = @_;
    my @words = split ' ', $line;
    @words == 2 or die "$place: expected 'utterance speaker', found: $line";
    my ($utterance, $speaker) = @words;
    !$seen{$utterance}++ or die "$place: '$utterance' appears here a second time\n";
    push @speakers, $speaker if !$utterances{$speaker};
    push @{ $utterances{$speaker} }, $utterance;
});
print "$_ @{ $utterances{$_} }\n" for @speakers;
close STDOUT or die "cannot write: $!\n";
