"""A sparsity as the exact decimal that was asked for."""

from __future__ import annotations

from fractions import Fraction

from reprune_onnx.errors import UsageError


def exact(sparsity: float) -> Fraction:
    """Return ``sparsity``, from [0, 1), as the fraction it is written as: 0.55 is 11/20.

    In floating point ⌈0.55·100⌉ is 56.

    >>> exact(0.55) * 100
    Fraction(55, 1)
    """
    if not 0 <= sparsity < 1:
        raise UsageError(f"the sparsity is {sparsity}; it must be at least 0 and less than 1")
    return Fraction(str(sparsity))
