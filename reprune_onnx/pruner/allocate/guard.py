"""What no allocation may do: empty a layer, drop fixed channels, or miss the rounding multiple."""

from __future__ import annotations

from collections.abc import Sequence


def guard(
    drops: Sequence[int],
    n: Sequence[int],
    fixed: Sequence[int],
    min_channels: int = 1,
    round_to: int = 1,
) -> list[int]:
    """Return how many channels each group keeps, near ``n - drops``.

    * At least one, ``min_channels`` and the number of ``fixed`` ones, as far as there are so many.
    * A multiple of ``round_to``: the nearest, of two the larger, raised to the least number
      allowed; or all ``n``, where no such multiple is smaller, or nothing was to be dropped.

    >>> guard(drops=[64, 10, 3], n=[64, 64, 6], fixed=[0, 0, 0], round_to=8)
    [8, 56, 6]
    """
    return [
        _kept(drop, total, max(1, min_channels, stay), round_to)
        for drop, total, stay in zip(drops, n, fixed, strict=True)
    ]


def _kept(drop: int, n: int, least: int, round_to: int) -> int:
    if drop == 0:
        return n
    nearest = (2 * (n - drop) + round_to) // (2 * round_to) * round_to
    least_multiple = -(-least // round_to) * round_to
    return min(n, max(nearest, least_multiple))
