"""ESPnet2 models: configuration, import and export."""
