"""ESPnet2's models: configuration, import and export."""
