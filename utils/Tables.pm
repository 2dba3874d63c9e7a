# What filters of tables share: their help, and files that are named or come from stdin.
package Tables;
use strict;
use warnings;
use Exporter qw(import);
our @EXPORT_OK = qw(usage_if_asked read_tables);

# usage_if_asked(): print the comment at the script's beginning for --help, and end
sub usage_if_asked {
    return if !@ARGV || $ARGV[0] !~ /^(--help|-h)$/;
    open my $script, '<', $0 or die "cannot read $0: $!\n";
    <$script>;
    while (<$script>) { s/^# ?// or last; print }
    exit 0;
}

# read_tables(FUNCTION): FUNCTION->(line, place) for each line of the files in @ARGV, or of
# stdin. A file that cannot be read is an error; Perl's own <> would only warn, and the table
# made from it would be empty.
sub read_tables {
    my ($function) = @_;
    my ($program) = $0 =~ m{([^/]*)\z};
    for my $path (@ARGV ? @ARGV : '-') {
        my $is_stdin = $path eq '-';
        my $file;    # not STDIN itself: to open that would close what is piped in
        if ($is_stdin) { $file = \*STDIN }
        else           { open $file, '<', $path or die "$program: cannot read $path: $!\n" }
        while (my $line = <$file>) { $function->($line, "$path:$.") }
        $is_stdin or close $file or die "$program: cannot read $path: $!\n";
    }
}

1;
