"""The constants that stand for branches that went as a whole, fitted like the layers around them.

Where an Add joins a branch with a shortcut, the constant is what is missing on average: of z, the
*original's* sum, and ``other``, the *pruned* network's shortcut, it is E[z - other], channel by
channel. So it also makes good what the shortcut carries in. Where another op reads the constant, it
is the mean of what the original's branch gave there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.sampling import Look
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.types import Bools, ChannelMap, Floats, Ints

Array = NDArray[Any]


@dataclass(frozen=True)
class Constant:
    """A constant ``name`` of the shape ``shape``, which node ``place`` of the pruned model reads.

    ``target`` is the tensor of the original whose mean it is; ``kept`` are the places that are left
    of its axis ``axis``. What the pruned model has in ``other`` is subtracted.
    """

    name: str
    shape: tuple[int, ...]
    place: int
    target: str
    axis: int
    kept: Ints
    other: str | None

    @property
    def inputs(self) -> list[str]:
        """The tensors of the pruned model that the fit needs."""
        return [] if self.other is None else [self.other]

    @property
    def tensors(self) -> list[str]:
        """All tensors that the fit looks at, in either model."""
        return [*self.inputs, self.target]

    @property
    def look(self) -> Look:
        """The tensor that is looked at, and the number of samples."""
        return Look(self.target, self.axis)


def constants(graph: Graph, channels: ChannelMap, keep: Bools, pruned: Graph) -> list[Constant]:
    """Return the constants of the branches that are gone, in the order of the pruned graph."""
    made = []
    for end in (end for branch in channels.branches_gone(keep) for end in branch.ends):
        readers, shape = pruned.readers(end), pruned.shape(end)
        if not readers:
            continue  # the rest of an outer branch
        target, other = end, None
        if len(readers) == 1 and readers[0].type in ("Add", "Sum") and len(readers[0].inputs) == 2:
            (shortcut,) = (i for i in readers[0].inputs if i != end)
            if not pruned.is_constant(shortcut):
                target, other = readers[0].result, shortcut
        ids = channels.tensors[target].ids
        axis = int(np.argmax(ids.shape))
        kept = np.flatnonzero(keep[ids].reshape(-1)) if ids.size > 1 else np.arange(shape[axis])
        place = min(reader.index for reader in readers)
        made.append(Constant(end, shape, place, target, axis, kept, other))
    return sorted(made, key=lambda constant: constant.place)


def fitted(
    constant: Constant, theirs: Frontier, ours: Frontier, workers: Workers
) -> dict[str, Array]:
    """Return the value of a constant, by its name."""

    def mean(b: int) -> tuple[int, Floats]:
        z = theirs.compute(b)[constant.target].take(constant.kept, axis=constant.axis)
        here = ours.compute(b)
        missing = z if constant.other is None else z - here[constant.other]
        free = tuple(axis for axis, n in enumerate(constant.shape) if n == 1)
        return len(z), missing.mean(axis=free, keepdims=True, dtype=np.float64)

    total, n = np.zeros(constant.shape), 0
    for count, part in workers.in_order(mean, theirs.batches):
        total, n = total + count * part, n + count
    return {constant.name: total / n}
