"""Residual streams that linear layers alone write and read: their basis is free.

If all that writes a stream x makes A·x instead, and all that reads it reads through A⁻¹, a network
computes the same. `find` says which streams these are, `turn` gives their layers the values of
another basis. Axes of a basis are cut as channels are.
"""
