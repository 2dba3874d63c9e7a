"""Corpora in the forms of other programs, turned into Kaldi data folders."""
