"""Kaldi data folders, features, tokens and batches."""
