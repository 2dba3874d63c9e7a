"""Faster equivalents of plain operations; each gives the same values."""
