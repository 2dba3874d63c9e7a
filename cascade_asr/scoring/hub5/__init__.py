"""Hub5 scoring of telephone conversations with NIST's tools."""
