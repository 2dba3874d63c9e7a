"""Top-down cascades of one's own PyTorch modules; see `cascade_asr.library.cascade.Cascade`."""
