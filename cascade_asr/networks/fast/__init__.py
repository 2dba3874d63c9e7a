"""Faster forms of plain operations, each beside its plain reference.

Some reach for parts of PyTorch that are not documented, so one switch turns all of
them off: the environment variable ``CASCADE_ASR_PLAIN=1`` for a whole run, or
`switch.plain_operations` for a block of code. Both forms give the same values and
gradients up to rounding (tests/unit/test_fast_operations.py); the plain ones are slower.
"""
