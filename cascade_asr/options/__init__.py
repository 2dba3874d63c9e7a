"""Typed configuration: schemas, signatures, and the options of a training."""
