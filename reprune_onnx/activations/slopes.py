"""How much of a small error gets through the activation function behind a layer.

With f the function and a small error e of z, what follows is off by f'(z)·e. So the square of an
error of channel c counts E[f'(z_c)²]: half behind a ReLU that passes half of the values, hardly
anything where a SiLU or a ReLU6 is flat for nearly all of them. f is all that is computed of z
element by element, up to the tensors that something else reads; where these are several, the
squares are summed. It is run by ONNX Runtime, a little above and below z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.joint import Joint, per_channel, rank_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.makers import Network
from reprune_onnx.activations.stretch import Kind, Parts
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.rules import ELEMENTWISE, RULES
from reprune_onnx.runtime.ort import Port, Session
from reprune_onnx.types import ChannelMap, Floats

_STEP = 1e-2  # of a channel's deviation: half of what lies between two values of z
_LEAST = 1e-5  # of its largest value, so that rounding in float32 does not matter


@dataclass(frozen=True)
class Activation:
    """f of the tensor ``name``: ``session`` runs it, on z of the shape (r, *``extents``).

    With ``unchanged`` z itself is read further too.
    """

    name: str
    extents: tuple[int, ...]
    session: Session
    unchanged: bool

    def squared_slopes(self, rows: NDArray[np.float32]) -> Floats:
        """Return Σ f'(z)² (c,), over samples z (r, c); all 1 where f is not finite beside one."""
        step = np.maximum(_STEP * rows.std(axis=0), _LEAST * np.abs(rows).max(axis=0))
        step += np.finfo(np.float32).tiny
        both = (np.reshape(rows + way * step, (-1, *self.extents)) for way in (-1, 1))
        below, above = (self.session.run({self.name: z}) for z in both)
        total = np.full(rows.shape[1], float(len(rows) * self.unchanged))
        for name, y in above.items():
            if not (np.isfinite(y).all() and np.isfinite(below[name]).all()):  # a Log, a Sqrt
                return np.full(rows.shape[1], float(len(rows)))
            rise = (y.astype(np.float64) - below[name]).reshape(rows.shape)
            total += ((rise / (2 * step)) ** 2).sum(axis=0)
        return total


def activation_of(network: Network, parts: Parts, layer: Linear, joint: Joint) -> Activation | None:
    """Return the function behind a layer's ``joint``; None where there is none.

    ``parts`` are those of the network's model, whose nodes need not be those of its graph.
    """
    name, after = joint.tensor, layer.trailing
    rank = rank_of(network.channels, name)
    if joint.matrix is not None or rank is None:
        return None
    before = rank - after - 2
    extents = (*[1] * before, layer.n_out, *[1] * after)
    nodes, ends = _computed_of(parts.graph, network.channels, layer, name)
    stretch = parts.stretch(nodes, {name: Kind(np.dtype(np.float32), (None, *extents))}, ends, ())
    if stretch is None or not all(_is_float(port) for port in stretch.session.outputs):
        return None
    return Activation(name, extents, stretch.session, name in ends)


def _computed_of(
    graph: Graph, channels: ChannelMap, layer: Linear, name: str
) -> tuple[list[int], set[str]]:
    """The nodes that compute tensors of one, element by element, and what is read of these."""
    nodes: list[int] = []
    made = [name]
    waiting = {op.index for op in graph.readers(name)}
    while waiting:
        op = graph.ops[min(waiting)]  # all that it reads comes before it
        waiting.remove(op.index)
        if _is_elementwise(graph, channels, layer, op, made):
            nodes.append(op.index)
            made += [o for o in op.outputs if o]
            waiting |= {reader.index for o in op.outputs for reader in graph.readers(o)}
    ends = {
        tensor
        for tensor in made
        if tensor in graph.outputs or any(op.index not in nodes for op in graph.readers(tensor))
    }
    return nodes, ends


def _is_elementwise(
    graph: Graph, channels: ChannelMap, layer: Linear, op: Op, made: list[str]
) -> bool:
    """Whether a node computes each element of its result of those at its place, and constants."""
    ranks = {rank_of(channels, tensor) for tensor in (made[0], *op.outputs) if tensor}
    return (
        RULES.get((op.domain, op.type)) in ELEMENTWISE
        and len(ranks) == 1
        and all(i in made or _is_per_channel(graph, layer, i) for i in op.inputs if i)
    )


def _is_per_channel(graph: Graph, layer: Linear, name: str) -> bool:
    if not graph.is_constant(name):
        return False
    return per_channel(graph.array(name), layer.n_out, layer.trailing) is not None


def _is_float(port: Port) -> bool:
    return port.dtype is not None and port.dtype.kind == "f"
