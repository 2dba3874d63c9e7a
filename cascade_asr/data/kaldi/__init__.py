"""Kaldi data folders: tables, checks, and edits."""
