"""The guard of allocations: none may empty a layer, or drop fixed channels."""

from __future__ import annotations

from collections.abc import Sequence


def guard(
    drops: Sequence[int],
    n: Sequence[int],
    fixed: Sequence[int],
    min_channels: int = 1,
) -> list[int]:
    """Return how many channels each group keeps: ``n - drops``, or the least that it may.

    That is one, ``min_channels`` and the number of ``fixed`` ones, as far as there are so many.

    >>> guard(drops=[64, 10, 3], n=[64, 64, 6], fixed=[0, 0, 4])
    [1, 54, 4]
    """
    return [
        min(total, max(total - drop, least_kept(total, stay, min_channels)))
        for drop, total, stay in zip(drops, n, fixed, strict=True)
    ]


def least_kept(n: int, fixed: int, min_channels: int) -> int:
    """Return the least that a group of ``n`` channels keeps, ``fixed`` of which must stay."""
    return min(n, max(1, min_channels, fixed))
