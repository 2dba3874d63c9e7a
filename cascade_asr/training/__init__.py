"""The training loop and what it writes to disk; it knows nothing of cascades."""
