#!/usr/bin/env perl
# Keep the lines of a table whose id is in a list; the id is a line's first word.
# Usage: filter_scp.pl [--exclude] [-f N] LIST [TABLE...] > TABLE    (or from stdin)
#  e.g.: filter_scp.pl data/dev/utt2spk dump/feats.scp > data/dev/feats.scp
#   --exclude   keep the other lines instead
#   -f N        the id is the table's N-th word (default: 1)
# A LIST - is read from stdin, and the tables are then files.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Tables qw(usage_if_asked read_tables);

usage_if_asked();
my ($exclude, $field) = (0, 1);
while (@ARGV && $ARGV[0] =~ /^-./) {
    my $option = shift @ARGV;
    if ($option eq '--exclude') { $exclude = 1 }
    elsif ($option eq '-f') {
        $field = shift @ARGV // '';
        $field =~ /^[1-9]\d*$/ or die "filter_scp.pl: -f needs a number of at least 1\n";
    }
    else { die "filter_scp.pl: unknown option $option; expected --exclude or -f N\n" }
}
my $list = shift @ARGV // die "usage: filter_scp.pl [--exclude] [-f N] LIST [TABLE...]\n";

my %listed;
my $lines;    # not STDIN itself: to open that would close the table that is piped in
if ($list ne '-') { open $lines, '<', $list or die "filter_scp.pl: cannot read $list: $!\n" }
elsif (@ARGV && !grep { $_ eq '-' } @ARGV) { $lines = \*STDIN }
else { die "filter_scp.pl: the list and a table cannot both come from stdin; name the table\n" }
while (<$lines>) {
    my ($id) = split or die "$list:$.: the line is blank\n";
    $listed{$id} = 1;
}
close $lines or die "filter_scp.pl: cannot read $list: $!\n";

read_tables(sub {
    my ($line, $place) = @_;
    $line =~ s/\s+$//;
    my @words = split ' ', $line, $field + 1;
    @words >= $field or die "$place: expected at least $field words, found: $line\n";
    print "$line\n" if $exclude xor $listed{ $words[$field - 1] };
});
close STDOUT or die "cannot write: $!\n";
