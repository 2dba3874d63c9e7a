"""Encoders, decoders and CTC: ESPnet's classes with ordered layers."""
