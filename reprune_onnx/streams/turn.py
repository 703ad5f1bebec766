"""Another basis for a stream: layers that write it get A·W, layers that read it W·A⁻¹.

Behind a BatchNormalization z = s·(W·x + b) + t it is A·z that is written: W becomes A·diag(s)·W,
and the BatchNormalization passes that on, with the shift A·(s·b + t). Its variance becomes that of
the new axes, as far as the old ones tell (if they are not correlated), its γ the root of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.recovery.values import with_values
from reprune_onnx.results import Measured
from reprune_onnx.streams.find import Stream, Writer, linear_streams
from reprune_onnx.types import Bools, Floats, Model

Array = NDArray[Any]


def in_bases(measured: Measured, keep: Bools) -> tuple[Graph, tuple[Stream, ...]]:
    """Return the graph in which streams that lose axes have theirs, and these streams.

    ``keep (n_units,)`` are the units that stay; what loses none stays as the file has it.
    """
    subject, losses = measured.subject, measured.knowledge.losses
    lose = {g.id for g in subject.channels.groups if not keep[g.units].all()}
    bases = {} if losses is None else {g: A for g, A in losses.bases.items() if g in lose}
    if not bases:
        return subject.graph, ()
    streams = linear_streams(subject.graph, subject.channels)
    model = turned(subject.graph, [(streams[g], A) for g, A in bases.items()])
    return Graph(model), tuple(streams[g] for g in bases)


def turned(graph: Graph, streams: Iterable[tuple[Stream, Floats]]) -> Model:
    """Return the model of ``graph`` with every stream in the basis A (n, n) that stands beside it.

    It computes the same, but for rounding; names and nodes are the same.
    """
    values: dict[str, Array] = {}
    for stream, A in streams:
        back = np.linalg.inv(A)
        for writer in stream.writers:
            values |= _written(graph, values, writer, A)
        for reader in stream.readers:
            name = reader.op.inputs[1]
            W = reader.matrix(_value(graph, values, name))  # (1, m, n·taps)
            by_channel = W.reshape(W.shape[1], stream.n, -1)
            values[name] = reader.weight(
                np.einsum("mit,ij->mjt", by_channel, back).reshape(W.shape)
            )
    return with_values(graph.model, values)


def _value(graph: Graph, values: Mapping[str, Array], name: str) -> Array:
    return values[name] if name in values else graph.array(name)


def _written(
    graph: Graph, values: Mapping[str, Array], writer: Writer, A: Floats
) -> dict[str, Array]:
    """New values for a layer that writes a stream, and for its BatchNormalization."""
    layer, norm, op = writer.layer, writer.norm, writer.layer.op
    (W,) = layer.matrix(_value(graph, values, op.inputs[1]))
    bias = layer.bias(graph)
    made: dict[str, Array] = {}
    if norm is not None:
        gamma, beta, mean, variance = (graph.array(i).astype(np.float64) for i in norm.inputs[1:5])
        epsilon = float(norm.attrs.get("epsilon", 1e-5))
        scale = gamma / np.sqrt(variance + epsilon)
        W, bias = scale[:, None] * W, scale * (bias - mean) + beta
        spread = A**2 @ (scale**2 * variance)
        shift = A @ bias
        made = dict(
            zip(
                norm.inputs[1:5],
                (np.sqrt(spread + epsilon), shift, np.zeros_like(shift), spread),
                strict=True,
            )
        )
        bias = np.zeros_like(bias)
    made[op.inputs[1]] = layer.weight((A @ W)[None])
    if layer.adds:
        added = A @ bias / float(op.attrs.get("beta", 1.0) or 1.0)
        made[op.inputs[2]] = added.reshape(graph.shape(op.inputs[2]))
    return made
