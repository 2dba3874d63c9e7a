"""Features: fbank as Kaldi computes it, ESPnet's log-mel, and their normalisation."""
