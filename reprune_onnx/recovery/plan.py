"""Which layers are refitted, to what, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.joint import Joint, joint_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.makers import maker_nodes
from reprune_onnx.activations.sampling import Look
from reprune_onnx.analyzer.graph import Graph, captured
from reprune_onnx.analyzer.op_kinds import FITTED
from reprune_onnx.recovery.intercept import Intercept, intercept_of, is_sole_constant
from reprune_onnx.types import Bools, ChannelMap, Floats, Ints


@dataclass(frozen=True)
class Step:
    """One layer of the pruned model.

    ``layer`` and ``weight`` are as they are there; ``joint`` is of the original, whose output
    channels ``kept (n_out',)`` are left. With ``mix (n_out', n_out)`` it is to make combinations
    of the original's channels instead; ``start (n_out', D)`` are the weights that make these of
    inputs that nothing changed.
    """

    layer: Linear
    weight: str
    joint: Joint
    kept: Ints
    intercept: Intercept | None
    mix: Floats | None = None
    start: Floats | None = None

    def targets(self, z: NDArray[Any]) -> NDArray[Any]:
        """The targets (r, n_out') of the layer, of the rows z (r, n_out) of the original."""
        if self.mix is None:
            return z[:, self.kept]
        return np.asarray(z @ self.mix.T.astype(z.dtype))

    @property
    def place(self) -> int:
        """The place of the layer in the pruned graph."""
        return self.layer.op.index

    @property
    def target(self) -> str:
        """The tensor of the original that the layer is fitted to."""
        return self.joint.tensor

    @property
    def look(self) -> Look:
        """That tensor, and the number of samples."""
        return Look.to_fit(self.target, self.layer)

    @property
    def tensors(self) -> list[str]:
        """All tensors that the fit looks at, in either model."""
        return [*self.inputs, self.target]

    @property
    def inputs(self) -> list[str]:
        """The tensors of the pruned model that the fit needs."""
        return [self.layer.op.inputs[0], *([self.joint.other] if self.joint.other else [])]


def plan(graph: Graph, channels: ChannelMap, keep: Bools, pruned: Graph) -> list[Step]:
    """Return the layers that read what the cut has changed, in graph order.

    With them come layers that make queries, keys or values of which channels went. A layer whose
    weight is shared with another, or is computed by the graph, stays as it is, and so does a Gemm
    that adds more than a bias.
    """
    changed = _changed(graph, channels, keep) | _combinable(graph, channels, keep)
    layers = {layer.node: layer for layer in channels.layers if layer.node in changed}
    steps = []
    for node, layer in sorted(layers.items()):
        op = graph.ops[node]
        mine = pruned.producer(op.result)
        if mine is None or layer.op not in FITTED or layer.input != 1:
            continue
        weight = mine.inputs[1]
        if mine.attrs.get("transA", 0) or not is_sole_constant(pruned, weight):
            continue
        before, linear = Linear(op, layer.shape), Linear(mine, pruned.shape(weight))
        if not linear.has_plain_bias(pruned):
            continue
        joint = joint_of(graph, channels, before)
        if joint.other is not None and _comes_later(graph, joint.other, node, set(layers)):
            joint = joint_of(graph, channels, before, through_adds=False)
        stays = keep[layer.out_ids]
        kept = np.flatnonzero(np.tile(stays, before.n_out // len(stays)))  # in every gate
        if joint.other is not None and pruned.is_constant(joint.other):
            joint = _with_constant(joint, kept, pruned.array(joint.other))
        steps.append(Step(linear, weight, joint, kept, intercept_of(pruned, linear)))
    return steps


def _with_constant(joint: Joint, kept: Ints, constant: NDArray[Any]) -> Joint:
    """The joint where a constant (n_out' values) has taken the place of the other branch."""
    shift = joint.shift.copy()
    shift[kept] += constant.reshape(-1)
    return replace(joint, shift=shift, other=None)


def _changed(graph: Graph, channels: ChannelMap, keep: Bools) -> set[int]:
    """The nodes whose results differ from the original's in channels that are left."""
    cut = {s.node for s in channels.sites if s.role == "in" and not keep[s.ids].all()}
    cut |= {s.node for s in channels.summed if not keep[s.ids].all()}
    tensors: set[str] = set()
    changed: set[int] = set()
    for op in graph.ops:
        if op.index in cut or tensors.intersection((*op.inputs, *captured(op))):
            changed.add(op.index)
            tensors.update(op.outputs)
    return changed


def _combinable(graph: Graph, channels: ChannelMap, keep: Bools) -> set[int]:
    """The layers that make queries, keys or values of which channels went."""
    read = [
        (graph.ops[s.node].inputs[s.input], False) for s in channels.summed if not keep[s.ids].all()
    ]
    read += [
        (graph.ops[s.node].inputs[0], True)
        for s in channels.sites
        if s.role == "in" and s.input == 1 and not keep[s.ids].all()
    ]
    return {node for name, mixed in read for node in maker_nodes(graph, channels, name, mixed)}


def _comes_later(graph: Graph, name: str, node: int, layers: set[int]) -> bool:
    """Whether ``name`` depends on ``node`` itself, or on one of ``layers`` that comes after it."""
    stack, seen = [name], set[int]()
    while stack:
        op = graph.producer(stack.pop())
        if op is None or op.index in seen:
            continue
        seen.add(op.index)
        if op.index >= node and op.index in layers:
            return True
        stack += [*op.inputs, *captured(op)]
    return False
