"""The number of channels that each group keeps at one sparsity of the whole network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reprune_onnx.pruner.allocate.guard import guard
from reprune_onnx.pruner.allocate.quantile import bn_gamma
from reprune_onnx.pruner.allocate.uniform import uniform
from reprune_onnx.types import Floats, Group


def at_sparsity(
    groups: Sequence[Group],
    gammas: Mapping[int, Floats] | None,
    sparsity: float,
    min_channels: int,
) -> list[int]:
    """Return what each group keeps when a share ``sparsity`` of all free channels goes.

    Those go whose ``gammas[g.id] (n,)``, |γ|, are the least of the network (Eq. 8-9); without
    ``gammas`` every group loses the same share. No group keeps fewer than ``min_channels`` and
    those that are not free, or none where no whole branch can go with them.

    >>> import numpy as np
    >>> a, b = (Group(i, np.arange(4), np.ones(4, bool), (), ()) for i in range(2))
    >>> at_sparsity([a, b], None, 0.5, 1)
    [2, 2]
    >>> at_sparsity([a, b], {0: np.ones(4), 1: np.full(4, 2.0)}, 0.25, 1)
    [2, 4]
    """
    if gammas is None:
        drops = uniform([int(g.free.sum()) for g in groups], sparsity)
    else:
        drops = bn_gamma([gammas[g.id][g.free] for g in groups], sparsity)
    return guard(drops, groups, min_channels)
