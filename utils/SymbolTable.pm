# What sym2int.pl and int2sym.pl share: their options, the table of symbols, fields of lines.
package SymbolTable;
use strict;
use warnings;
use Exporter qw(import);
our @EXPORT = qw(fail options_of symbols_of map_fields);

my $program = '';

sub fail { print STDERR "$program: $_[0]\n"; exit 1 }

sub usage {
    open my $script, '<', $0 or fail("cannot read $0: $!");
    <$script>;
    while (<$script>) { s/^# ?// or last; print }
    exit 0;
}

# options_of(PROGRAM, OPTION...): first and last field, symbols, and options with a value
sub options_of {
    my @known;
    ($program, @known) = @_;
    my %option = (first => 1, last => undef);
    while (@ARGV && $ARGV[0] =~ /^-./) {
        my ($name, $value) = split /=/, shift @ARGV, 2;
        if ($name =~ /^(--help|-h)$/) { usage() }
        elsif ($name eq '-f') {
            my $fields = shift @ARGV // '';
            $fields =~ /^(\d*)([-:]?)(\d*)$/ && "$1$3" ne ''
                or fail("-f '$fields': expected fields such as 2, 2-4, 2- or -4");
            @option{qw(first last)}
                = $2 ? ($1 eq '' ? 1 : $1, $3 eq '' ? undef : $3) : ($fields, $fields);
            fail("-f $fields: fields are counted from 1, and the first one comes first")
                if $option{first} < 1 || defined $option{last} && $option{last} < $option{first};
        }
        elsif (grep { $_ eq $name } @known) {
            $option{$name} = $value // shift @ARGV // fail("$name needs a value");
        }
        else { fail("unknown option $name; see $program --help") }
    }
    fail("expected SYMBOLS [TABLE]; see $program --help") if @ARGV < 1 || @ARGV > 2;
    $option{symbols} = shift @ARGV;
    return %option;
}

# Word and number of each line.
sub symbols_of {
    my ($path) = @_;
    open my $lines, '<', $path or fail("cannot read $path: $!");
    my @symbols;
    while (<$lines>) {
        my @words = split;
        fail("$path:$.: expected 'word number', found: $_") if @words != 2 || $words[1] !~ /^\d+$/;
        push @symbols, \@words;
    }
    close $lines or fail("cannot read $path: $!");
    fail("$path: empty") if !@symbols;
    return @symbols;
}

# map_fields(OPTIONS, FUNCTION): print the table with FUNCTION->(word, place) of each field
sub map_fields {
    my ($option, $function) = @_;
    my $path = $ARGV[0] // '-';
    my $file = \*STDIN;
    if ($path ne '-') { open $file, '<', $path or fail("cannot read $path: $!") }
    while (my $line = <$file>) {
        my @words = split ' ', $line;
        my $last  = $option->{last};
        my $end   = defined $last && $last < @words ? $last : scalar @words;
        $_ = $function->($_, "$path:$.") for @words[ $option->{first} - 1 .. $end - 1 ];
        print join(' ', @words), "\n";
    }
    close $file or fail("cannot read $path: $!");
    close STDOUT or fail("cannot write: $!");
}

1;
