"""The training loop and what it leaves on disk; it knows nothing of cascades."""
