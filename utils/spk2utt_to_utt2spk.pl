#!/usr/bin/env perl
# Turn a table spk2utt into utt2spk, in the order of the input (pipe it into sort).
# Usage: spk2utt_to_utt2spk.pl [SPK2UTT] | sort > UTT2SPK    (or from stdin)
#  e.g.: spk2utt_to_utt2spk.pl data/train/spk2utt | LC_ALL=C sort > data/train/utt2spk
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Tables qw(usage_if_asked read_tables);

usage_if_asked();
read_tables(sub {
    my ($line, $place) = @_;
    my ($speaker, @utterances) = split ' ', $line;
    @utterances or die "$place: expected 'speaker utterance...', found: $line";
    print "$_ $speaker\n" for @utterances;
});
close STDOUT or die "cannot write: $!\n";
