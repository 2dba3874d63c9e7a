#!/usr/bin/env perl
# Turn a table spk2utt into utt2spk, in the order of the input (pipe it into sort).
# Usage: spk2utt_to_utt2spk.pl [SPK2UTT] | sort > UTT2SPK    (or from stdin)
use strict;
use warnings;

while (<>) {
    my ($speaker, @utterances) = split;
    @utterances or die "$ARGV:$.: expected 'speaker utterance...', found: $_";
    print "$_ $speaker\n" for @utterances;
}
continue { close ARGV if eof }    # counts the lines of each file anew
close STDOUT or die "cannot write: $!\n";
