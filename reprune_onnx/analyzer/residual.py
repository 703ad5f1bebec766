"""Residual constraints: which units meet a residual Add, and which live strictly inside a branch.

A residual Add sums activations of different producers. The branches it closes were opened at a
fork: the tensor through which every path to the Add leads, its immediate dominator.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Bools, Ints

_ROOT = -1


def meeting(w: Walk) -> list[tuple[Op, Ints]]:
    """Each residual Add with the labels it sums."""
    return [(add.op, np.concatenate([o.ravel() for o in add.operands])) for add in w.adds]


def strictly_inside(w: Walk, unit_of: Ints, n_units: int) -> Bools:
    """Which units ``(n_units,)`` live strictly between a fork and the Add that closes it (A.6).

    All nodes that make or read a tensor with the unit's channels lie on paths from one fork to one
    Add, and no such tensor is an operand of the Add itself.
    """
    flow = _Flow(w)
    regions = []
    for add in w.adds:
        fork = flow.dominator[add.op.index]
        below = flow.reached_from_inputs if fork == _ROOT else flow.descendants[fork]
        if fork != _ROOT or len(w.graph.inputs) == 1:
            regions.append(below & flow.ancestors[add.op.index])
    inside = np.full(n_units, (1 << len(regions)) - 1, dtype=object)
    for name, labels in w.tensors.items():
        touching = flow.touching.get(name, 0)
        candidates = sum(1 << k for k, region in enumerate(regions) if not touching & ~region)
        if name in flow.ends:
            candidates = 0
        units = np.unique(unit_of[labels.ids])
        inside[units] = inside[units] & candidates
    return inside.astype(bool)


class _Flow:
    """Ancestors, descendants and dominators of the nodes; sets of nodes are bit masks."""

    def __init__(self, w: Walk) -> None:
        self.ends = set(w.graph.outputs) | {i.name for i in w.graph.inputs}
        self.ancestors: dict[int, int] = {}
        self.descendants: dict[int, int] = {}
        self.dominator: dict[int, int] = {}
        self.touching: dict[str, int] = {}
        self.reached_from_inputs = 0
        depth = {_ROOT: 0}
        nodes = [op for op in w.graph.ops if any(o in w.tensors for o in op.outputs)]
        makers = {o: op.index for op in nodes for o in op.outputs}
        children: dict[int, list[int]] = {}
        for op in nodes:
            bit = 1 << op.index
            self.reached_from_inputs |= bit
            before = {makers.get(i, _ROOT) for i in op.inputs if i in w.tensors}
            above = 0
            for p in before - {_ROOT}:
                above |= self.ancestors[p] | 1 << p
                children.setdefault(p, []).append(op.index)
            self.ancestors[op.index] = above
            self.dominator[op.index] = self._meet(sorted(before), depth)
            depth[op.index] = depth[self.dominator[op.index]] + 1
            for name in op.outputs:
                self.touching[name] = self.touching.get(name, 0) | bit
            for name in op.inputs:
                if name in w.tensors:
                    self.touching[name] = self.touching.get(name, 0) | bit
        for op in reversed(nodes):
            below = 0
            for child in children.get(op.index, ()):
                below |= self.descendants[child] | 1 << child
            self.descendants[op.index] = below

    def _meet(self, nodes: list[int], depth: dict[int, int]) -> int:
        """The nearest common dominator of ``nodes``."""
        common = nodes[0] if nodes else _ROOT
        for other in nodes[1:]:
            a, b = common, other
            while a != b:
                if depth[a] >= depth[b]:
                    a = self.dominator[a]
                else:
                    b = self.dominator[b]
            common = a
        return common
