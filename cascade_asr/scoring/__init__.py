"""sclite's alignment, reports and statistics."""
