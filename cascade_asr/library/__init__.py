"""Top-down cascades of your own PyTorch modules; see `cascade_asr.library.cascade.Cascade`."""
