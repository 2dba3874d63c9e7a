"""Top-down cascade training for speech recognition and language models."""

__version__ = "0.1.0"
