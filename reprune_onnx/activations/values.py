"""Values of attention: a layer makes them, scores mix their positions, and a layer reads them.

Both layers are linear, so the channels of each head between them can be combined: y = W·x is what
is to be kept, with x the values of a head where they are read, and w a row of W.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.low_rank import lost_by_rank
from reprune_onnx.activations.makers import Maker, Network, made_by
from reprune_onnx.types import Floats, Ints

Array = NDArray[Any]
_EQUAL = 1e-3  # of the deviation


@dataclass(frozen=True)
class Values:
    """The layer ``linear`` at ``node`` reads what ``maker`` makes, in the tensor ``tensor``.

    ``heads`` are the input channels of each head, (d,) each.
    """

    node: int
    linear: Linear
    tensor: str
    maker: Maker
    heads: tuple[Ints, ...]

    def weights(self, matrix: Floats, scale: Floats) -> list[Floats]:
        """E[w·wᵀ] (d, d), summed over outputs, of each head, of W (1, n_out, D) and its scale."""
        W = matrix[0] * scale[:, None]
        W = W.reshape(len(W), -1, max(1, int(np.prod(self.linear.kernel))))
        return [np.einsum("mit,mjt->ij", W[:, head], W[:, head]) for head in self.heads]

    def moments(self, arrays: Iterable[Array], centred: bool) -> list[Floats]:
        """E[x·xᵀ] (d, d) of each head, of the tensor in every batch."""
        n, total = 0, [0.0 for _ in self.heads]
        sums: list[Any] = [0.0 for _ in self.heads]
        means: list[Any] = list(total)
        for array in arrays:
            rows = np.moveaxis(array, self.linear.axis, -1)
            rows = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
            n += len(rows)
            for h, head in enumerate(self.heads):
                x = rows[:, head]
                sums[h] = sums[h] + x.T @ x
                means[h] = means[h] + x.sum(axis=0)
        rest = [np.outer(m, m) / n**2 if centred else 0.0 for m in means]
        return [np.asarray(s / n - r) for s, r in zip(sums, rest, strict=True)]


def values_of(network: Network, node: int) -> Values | None:
    """Return what the layer at ``node`` reads of another's values; None where these are none."""
    (layer,) = (x for x in network.channels.layers if x.node == node)
    op = network.graph.ops[node]
    linear = Linear(op, layer.shape)
    if linear.groups > 1 or linear.hidden:
        return None
    made = made_by(network, op.inputs[0], node, mixed=True)
    if made is None:
        return None
    by_channel = np.moveaxis(made.rows, linear.axis, -1)
    by_channel = by_channel.reshape(-1, by_channel.shape[-1])
    rows = by_channel[0]
    if (by_channel != rows).any() or len(np.unique(rows)) < len(rows):
        return None
    heads = _alike(np.moveaxis(made.probe.shared(op.inputs[0], rows), linear.axis, -1))
    maker = Maker(made.node, tuple(rows[head] for head in heads))
    return Values(node, linear, op.inputs[0], maker, heads)


def lost_by_combining(first: list[Floats], second: list[Floats]) -> Floats:
    """The losses (d + 1,) with n = 0 … d combinations for each head, all of one size."""
    return np.asarray(sum(lost_by_rank(w, x) for w, x in zip(first, second, strict=True)))


def _alike(array: Array) -> tuple[Ints, ...]:
    """The channels of the last axis, by what is equal in them."""
    columns = array.reshape(-1, array.shape[-1])
    apart = _EQUAL * float(columns.std())
    left, heads = np.arange(columns.shape[1]), []
    while len(left):
        same = np.abs(columns[:, left] - columns[:, left[:1]]).max(axis=0) <= apart
        heads.append(left[same])
        left = left[~same]
    return tuple(heads)
