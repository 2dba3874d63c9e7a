"""Corpora in the formats of other programs, turned into Kaldi data folders."""
