"""The guard of allocations: none may empty a layer, or drop fixed channels."""

from __future__ import annotations

from collections.abc import Sequence

from reprune_onnx.types import Group


def guard(drops: Sequence[int], groups: Sequence[Group], min_channels: int = 1) -> list[int]:
    """Return how many channels each group keeps: all less ``drops``, or the least that it may.

    >>> import numpy as np
    >>> a, b = (Group(i, np.arange(64), np.ones(64, bool), (), ()) for i in range(2))
    >>> guard(drops=[64, 10], groups=[a, b])
    [1, 54]
    """
    return [
        max(g.n - drop, least_kept(g, min_channels)) for drop, g in zip(drops, groups, strict=True)
    ]


def least_kept(group: Group, min_channels: int) -> int:
    """Return the least that a group keeps: ``min_channels``, and those that must stay.

    None at all is allowed only where a whole branch goes with them.
    """
    least = min_channels if group.branch is not None else max(1, min_channels)
    return min(group.n, max(least, int((~group.free).sum())))
