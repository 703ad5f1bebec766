"""Least squares: each layer is refitted, in graph order, to what the original network made there.

With x the *pruned* network's values under a layer's kernel and z the *original* network's values
where the layer joins the rest (`activations.joint`), the layer gets the weights and the bias that
bring scale·(W·x + b) + shift + other nearest to z, where ``other``, the shortcut of a residual Add,
is the pruned network's: the layer compensates the error that the shortcut carries in.

    W = argmin ‖T - X·Wᵀ‖²/n + λ·‖W - W₀‖²        T = (z - shift - other)/scale

W₀ are the weights as cut. λ is chosen by how well a fit to one half of the images predicts the
other; for all of them it is less. Where only a ReLU or Clip reads z, an error beyond its bounds
does not matter: there T is moved to the prediction, and the layer is fitted again, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.moments import Moments, Sums
from reprune_onnx.activations.sampling import Share, shares
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import DataError
from reprune_onnx.recovery.constants import Constant, fitted
from reprune_onnx.recovery.plan import Step
from reprune_onnx.recovery.ridge import FOR_ALL, MORE_RIDGES, RIDGES, Regression, choose
from reprune_onnx.types import Floats, Model
from reprune_onnx.watch import Progress

Array = NDArray[Any]

_ROUNDS = 2  # fits with moved targets
_MOVED = 12_000  # samples that targets are moved by
_DEAD = 1e-12  # a scale below which a channel is not seen by the rest of the network


def refit(
    models: tuple[Model, Model],
    steps: Sequence[Step | Constant],
    images: Images,
    workers: Workers,
    progress: Progress | None = None,
) -> dict[str, Array]:
    """Return new values, by name, for the weights and biases of ``steps``, and for constants.

    ``models`` are the original and the pruned one. Memory does not depend on the number of images.
    """
    original, pruned = models
    steps = sorted(steps, key=lambda s: s.place)
    parts = shares(original.proto, images.batches, [s.look for s in steps])
    counts = [share.batches for share in parts]
    asked = [[s.target] for s in steps], [s.inputs for s in steps]
    theirs, ours = (
        Frontier(model, images.batches, names, counts, Store(images.room))
        for model, names in zip(models, asked, strict=True)
    )
    graph = Graph(pruned)
    values: dict[str, Array] = {}
    for k, step in enumerate(steps):
        theirs.advance()
        ours.advance()
        if isinstance(step, Constant):
            made = fitted(step, theirs, ours, workers)
            new = {k: v.astype(graph.array(k).dtype) for k, v in made.items()}
        else:
            rows = Store(images.room)
            new = _Fit(step, graph, theirs, ours, parts[k], rows, workers).run()
        ours.change(new)
        values |= new
        if progress is not None:
            progress("recovering", k + 1, len(steps))
    return values


@dataclass
class _Fit:
    """The fit of one layer; samples are kept from one round to the next in ``rows``."""

    step: Step
    graph: Graph
    theirs: Frontier
    ours: Frontier
    share: Share
    rows: Store
    workers: Workers

    def __post_init__(self) -> None:
        step, graph = self.step, self.graph
        cut = step.layer.matrix(graph.array(step.weight))
        self.W0: Floats = cut if step.start is None else step.start[None]  # (g, m, D)
        scale = step.joint.scale[step.kept]
        self.dead = np.abs(scale) < _DEAD
        self.scale, self.shift = np.where(self.dead, 1.0, scale), step.joint.shift[step.kept]
        self.bias0 = step.layer.bias(graph)

    def run(self) -> dict[str, Array]:
        """Return the layer's new weight and, where it has one, its intercept."""
        step, centred = self.step, self.step.intercept is not None
        ridge, m = self._chosen(centred)
        regression = Regression(m.xx, self.W0, ridge)
        m = replace(m, xx=())  # the largest array is needed no more
        W, b = self._solution(regression, m)
        for _ in range(_ROUNDS if step.joint.bounded else 0):
            change = self._change(W, b).moments(centred)
            moved = replace(m, t=m.t + change.t, xt=m.xt + change.xt)
            W, b = self._solution(regression, moved)
        values = {step.weight: step.layer.weight(W)}
        if step.intercept is not None:
            values[step.intercept.tensor] = step.intercept.shifted(self.graph, b - self.bias0)
        return {k: v.astype(self.graph.array(k).dtype) for k, v in values.items()}

    def _chosen(self, centred: bool) -> tuple[float, Moments]:
        """The ridge, by what a fit to every other portion is best with, and the moments of all."""
        sums = [Sums(self.workers) for _ in range(2)]
        for k, (X, T) in enumerate(self.workers.in_order(self._sample, len(self.share.portions))):
            sums[k % 2].add(X, T)
        fit, test = (s.moments(centred) for s in sums)
        del sums
        weight = (self.scale**2 * ~self.dead).reshape(self.W0.shape[:2])
        ridges = RIDGES if self.step.joint.bounded else MORE_RIDGES
        return FOR_ALL * choose(fit, test, self.W0, weight, ridges), fit.merged(test)

    def _solution(self, regression: Regression, m: Moments) -> tuple[Floats, Floats]:
        """W (g, m, D) and b (n_out,)."""
        W = regression.solve(m.xt)
        dead = self.dead.reshape(W.shape[:2])
        W[dead] = self.W0[dead]
        if self.step.intercept is None:
            return W, self.bias0
        b = (m.t - np.einsum("gmd,gd->gm", W, m.x)).reshape(-1)
        return W, np.where(self.dead, self.bias0, b)

    def _sample(self, k: int) -> tuple[Array, Array]:
        """X (g, r, D) and T (g, r, m) of portion k; a part of its rows is kept for `_change`."""
        step = self.step
        parts = [self._batch(b) for b in self.share.portions[k]]
        X = np.concatenate([x for x, _, _ in parts], axis=1)
        Z, other = (np.concatenate(rows) for rows in list(zip(*parts, strict=True))[1:])
        if not np.isfinite(X).all():
            raise DataError(
                f"the images make values that are not finite before {step.layer.op.title}: give"
                " values as the model was trained on (--preprocess)"
            )
        if step.joint.bounded:
            part = max(1, X.shape[1] * len(self.share.portions) // _MOVED)
            kept = {"X": X[:, ::part], "Z": Z[::part], "other": other[::part]}
            for name, array in kept.items():
                self.rows.put(name, k, np.ascontiguousarray(array))
        shift = self.shift.astype(np.float32)
        if step.intercept is None:
            shift = shift + (self.scale * self.bias0).astype(np.float32)
        return X, self._by_group((Z - other - shift) / self.scale.astype(np.float32))

    def _batch(self, b: int) -> tuple[Array, Array, Array]:
        """X (g, r, D) and Z (r, n_out) of batch b, and the shortcut there or zeros (r, 1)."""
        step, layer = self.step, self.step.layer
        ours = self.ours.compute(b)
        z = self.theirs.compute(b)[step.joint.tensor]
        at = self.share.places(layer.positions(z), b)
        X = layer.inputs(ours[layer.op.inputs[0]], z.shape, at).astype(np.float32, copy=False)
        Z = step.targets(step.joint.rows(layer, z, at)).astype(np.float32)
        if step.joint.other is None:
            return X, Z, np.zeros((len(Z), 1), np.float32)
        return X, Z, layer.outputs(ours[step.joint.other], at).astype(np.float32)

    def _change(self, W: Floats, b: Floats) -> Sums:
        """The sums of what is added to the targets where an error does not matter.

        They are those of a part of the samples: the rest of the moments is known from all.
        """
        weights, bias = (a.astype(np.float32) for a in (W, b))
        scale, shift = self.scale.astype(np.float32), self.shift.astype(np.float32)
        low, high = self.step.joint.low, self.step.joint.high

        def rows(k: int) -> tuple[Array, Array]:
            X, Z, other = (self.rows.get(name, k) for name in ("X", "Z", "other"))
            y = np.concatenate([x @ w.T for x, w in zip(X, weights, strict=True)], axis=1) + bias
            now = y * scale + shift + other
            change = np.where(low >= Z, np.minimum(now, low) - Z, 0)
            change = np.where(high <= Z, np.maximum(now, high) - Z, change)
            return X, self._by_group((change / scale).astype(np.float32))

        sums = Sums(self.workers, xx=False)
        for X, T in self.workers.in_order(rows, len(self.share.portions)):
            sums.add(X, T)
        return sums

    def _by_group(self, rows: Array) -> Array:
        """Rows (r, n_out) as (g, r, m)."""
        g, m, _ = self.W0.shape
        grouped: Array = rows.reshape(len(rows), g, m).swapaxes(0, 1)
        return grouped
