"""Speech recognition: its model, data and decoding."""
