"""Batch-norm re-estimation: every channel gets the mean and the deviation that it had.

A layer's outputs y' = W·x' + b of the pruned network are scaled and shifted per channel,
y = (y' - μ')·σ/σ' + μ, so that they have the mean μ and the standard deviation σ of the original's
outputs. With a live BatchNormalization this is what re-estimating its running statistics does;
where it was folded away, the scale goes into the filters and the shift into the bias. Layers go in
graph order, each on the activations of those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.sampling import Look, shares
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.recovery.plan import Step
from reprune_onnx.types import Floats, Model
from reprune_onnx.watch import Progress

_LARGEST = 10.0  # a channel that hardly varies any more is not blown up further


def reestimate(
    models: tuple[Model, Model],
    steps: Sequence[Step],
    images: Images,
    workers: Workers,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Return new values, by name, for the weights and biases of ``steps``.

    Recurrent layers and attention in one node stay: what they make of their input is in no tensor.
    """
    original, pruned = models
    steps = [s for s in steps if not s.layer.hidden]
    outputs = [[s.layer.op.outputs[0]] for s in steps]
    looks = [Look(name, s.layer.axis) for s, (name,) in zip(steps, outputs, strict=True)]
    counts = [share.batches for share in shares(original.proto, images.batches, looks)]
    theirs, ours = (
        Frontier(m, images.batches, outputs, counts, Store(images.room)) for m in models
    )
    graph = Graph(pruned)
    values: dict[str, NDArray[Any]] = {}
    for k, step in enumerate(steps):
        theirs.advance()
        ours.advance()
        (mean, deviation), (now, spread) = (
            _statistics(frontier, step, rows, workers)
            for frontier, rows in ((theirs, step.kept), (ours, np.arange(len(step.kept))))
        )
        factor = np.minimum(deviation / np.where(spread > 0, spread, np.inf), _LARGEST)
        factor = np.where((deviation > 0) & (spread > 0), factor, 1.0)
        W = step.layer.matrix(graph.array(step.weight))
        changed = {step.weight: step.layer.weight(W * factor.reshape(*W.shape[:2], 1))}
        bias = step.layer.bias(graph)
        node_bias = bias  # what the node itself adds from now on
        if step.intercept is not None:
            b = mean - factor * (now - bias)  # W·x' has the mean now - bias
            changed[step.intercept.tensor] = step.intercept.shifted(graph, b - bias)
            node_bias = b if step.intercept.tensor in step.layer.op.inputs else bias
        changed = {name: v.astype(graph.array(name).dtype) for name, v in changed.items()}
        ours.change(changed)
        ours.rescale(step.layer, factor, node_bias - factor * bias)
        values |= changed
        if progress is not None:
            progress("recovering", k + 1, len(steps))
    return values


def _statistics(
    frontier: Frontier, step: Step, rows: NDArray[np.int64], workers: Workers
) -> tuple[Floats, Floats]:
    """Mean and standard deviation (n_out',) of the layer's outputs."""

    def sums(k: int) -> tuple[int, Floats, Floats]:
        y = frontier.compute(k)[step.layer.op.outputs[0]]
        flat = step.layer.outputs(y, np.arange(step.layer.positions(y)))[:, rows]
        flat = flat.astype(np.float64)
        return len(flat), flat.sum(axis=0), (flat**2).sum(axis=0)

    n, total, squares = 0, np.zeros(len(rows)), np.zeros(len(rows))
    for count, first, second in workers.in_order(sums, frontier.batches):
        n, total, squares = n + count, total + first, squares + second
    mean = total / n
    return mean, np.sqrt(np.maximum(squares / n - mean**2, 0.0))
