"""First and second moments of what a layer reads and of what it should make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.workers import Workers
from reprune_onnx.types import Floats

Array = NDArray[Any]
_BLOCK = 128  # columns of a Gram matrix that are computed at once
_ROWS = 4096  # samples that are gathered before their products are summed


@dataclass(frozen=True)
class Moments:
    """Means and second moments, for g groups of inputs and outputs.

    ``x (g, D)`` and ``t (g, m)`` are the means of inputs and targets; ``xx (g, D, D)``,
    ``xt (g, D, m)`` and ``tt (g, m)`` the means of products of what is left without them.
    """

    x: Floats
    t: Floats
    xx: Floats
    xt: Floats
    tt: Floats

    def about_zero(self) -> Moments:
        """Return the moments of the raw values, for a layer that cannot shift its outputs."""
        x, t = self.x[:, :, None], self.t[:, None, :]
        return Moments(
            np.zeros_like(self.x),
            np.zeros_like(self.t),
            self.xx + x * x.swapaxes(1, 2),
            self.xt + x * t,
            self.tt + self.t**2,
        )

    def error(self, W: Floats) -> Floats:
        """The mean squared error (g, m) of predicting the targets by W (g, m, D)."""
        fitted = np.einsum("gmd,gdm->gm", W, self.xt)
        predicted = np.einsum("gmd,gmd->gm", W @ self.xx, W)
        error: Floats = np.maximum(self.tt - 2 * fitted + predicted, 0.0)
        return error


@dataclass(frozen=True)
class Origin:
    """What is taken off all values before they are multiplied: ``x (g, 1, D)``, ``t (g, 1, m)``.

    Moments about a point amid the values lose nothing to rounding where the mean of a value is far
    larger than its deviation.
    """

    x: Array
    t: Array

    @classmethod
    def of(cls, X: Array, T: Array) -> Origin:
        """The means of some samples."""
        return cls(X.mean(axis=1, keepdims=True), T.mean(axis=1, keepdims=True))


class Sums:
    """Moments in the making; samples are given in order, so the sums do not depend on threads.

    Products are of float32, over a few thousand samples at a time; sums are float64.
    """

    def __init__(self, workers: Workers, origin: Origin, inputs: bool = True) -> None:
        """With ``inputs=False`` only what involves the targets is summed (`retargeted`)."""
        self._workers = workers
        self._origin = origin
        self._inputs = inputs
        self._rows: list[tuple[Array, Array]] = []
        self._waiting = 0
        self._n = 0
        self._total: list[Floats] = []

    def add(self, X: Array, T: Array) -> None:
        """Add samples X (g, r, D) with targets T (g, r, m), both float32."""
        self._rows.append((X, T))
        self._waiting += X.shape[1]
        if self._waiting >= _ROWS:
            self._flush()

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over the samples of both, about the same origin."""
        self._flush()
        other._flush()
        both = Sums(self._workers, self._origin, self._inputs)
        both._n = self._n + other._n
        both._total = [x + y for x, y in zip(self._total, other._total, strict=True)]
        return both

    def moments(self) -> Moments:
        """Return the centred moments of all samples so far."""
        self._flush()
        t, xt, tt, x, xx = (total / self._n for total in self._total)
        return Moments(
            x + self._origin.x[:, 0],
            t + self._origin.t[:, 0],
            xx - x[:, :, None] * x[:, None, :],
            xt - x[:, :, None] * t[:, None, :],
            np.maximum(tt - t**2, 0.0),
        )

    def retargeted(self, m: Moments) -> Moments:
        """Return ``m``, the centred moments of the same inputs, with the targets of these sums."""
        self._flush()
        t, xt, tt = (total / self._n for total in self._total[:3])
        xt = xt - (m.x - self._origin.x[:, 0])[:, :, None] * t[:, None, :]
        return replace(m, t=t + self._origin.t[:, 0], xt=xt, tt=np.maximum(tt - t**2, 0.0))

    def _flush(self) -> None:
        if not self._rows:
            return
        X = np.concatenate([x for x, _ in self._rows], axis=1)
        T = np.concatenate([t for _, t in self._rows], axis=1)
        X, T = X - self._origin.x, T - self._origin.t
        self._rows, self._waiting = [], 0
        self._n += X.shape[1]
        parts = [_sum(T), self._product(X, T), _sum(T**2)]
        if self._inputs:
            parts += [_sum(X), self._product(X, None)]
        total = self._total or [np.zeros(())] * len(parts)
        self._total = [a + b for a, b in zip(total, parts, strict=True)]

    def _product(self, X: Array, T: Array | None) -> Floats:
        """XᵀT (g, D, m), or XᵀX (g, D, D); in blocks of fixed size."""
        g, _, size = X.shape
        P = np.empty((g, size, size if T is None else T.shape[2]))

        def block(k: int) -> None:
            a, b = k * _BLOCK, min((k + 1) * _BLOCK, size)
            left = X[:, :, a:b].swapaxes(1, 2)
            if T is not None:
                P[:, a:b] = left @ T
                return
            P[:, a:b, a:] = left @ X[:, :, a:]
            P[:, b:, a:b] = P[:, a:b, b:].swapaxes(1, 2)

        self._workers.run(block, -(-size // _BLOCK))
        return P


def _sum(X: Array) -> Floats:
    total: Floats = X.sum(axis=1, dtype=np.float64)
    return total
