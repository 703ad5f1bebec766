"""First and second moments of what a layer reads and of what it should make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor

from reprune_onnx.activations.workers import Workers
from reprune_onnx.types import Floats

Array = NDArray[Any]
_BLOCK = 128  # columns of a Gram matrix that are computed at once
_ENOUGH = 4  # samples of each input, from which on what is lost is off by a third at most
_ROWS = 4096  # samples that are gathered before their products are summed


@dataclass(frozen=True)
class Moments:
    """Means and centred second moments, for g groups of inputs and outputs.

    ``x (g, D)`` and ``t (g, m)`` are the means of inputs and targets; ``xx (g, D, D)``,
    ``xt (g, D, m)`` and ``tt (g, m)`` the means of products of what is left without them, or of the
    raw values where the means are zero (a layer that cannot shift its outputs).
    """

    x: Floats
    t: Floats
    xx: Floats
    xt: Floats
    tt: Floats

    def error(self, W: Floats) -> Floats:
        """The mean squared error (g, m) of predicting the targets by W (g, m, D)."""
        fitted = np.einsum("gmd,gdm->gm", W, self.xt)
        predicted = np.einsum("gmd,gmd->gm", W @ self.xx, W)
        error: Floats = np.maximum(self.tt - 2 * fitted + predicted, 0.0)
        return error


@dataclass(frozen=True)
class _Totals:
    """Sums over n samples of x, t and their products, after ``p (g, D)`` and ``q (g, m)`` are
    subtracted; ``xx`` is None where only the targets are of interest.
    """

    n: int
    p: Floats
    q: Floats
    x: Floats
    t: Floats
    xt: Floats
    tt: Floats
    xx: Floats | None

    def moved(self, p: Floats, q: Floats) -> _Totals:
        """Return the sums after ``p`` and ``q`` are subtracted instead."""
        d, e = self.p - p, self.q - q
        if not d.any() and not e.any():
            return self
        x, t = self.x + self.n * d, self.t + self.n * e
        return _Totals(
            *(self.n, p, q, x, t),
            self.xt + _outer(self.x, e) + _outer(d, t),
            self.tt + e * (self.t + t),
            None if self.xx is None else _plus(_plus(self.xx.copy(), self.x, d), d, x),
        )

    def __add__(self, other: _Totals) -> _Totals:
        other = other.moved(self.p, self.q)
        both = None if self.xx is None or other.xx is None else self.xx + other.xx
        return _Totals(
            *(self.n + other.n, self.p, self.q, self.x + other.x, self.t + other.t),
            *(self.xt + other.xt, self.tt + other.tt, both),
        )


class Sums:
    """Moments in the making; samples are given in order, so the sums do not depend on threads.

    Products are of float32, over a few thousand samples at a time; sums are float64. The mean of
    the first samples is subtracted before anything is multiplied: where means are large, the
    variance would be lost in the rounding of the squares.
    """

    def __init__(self, workers: Workers, inputs: bool = True) -> None:
        """With ``inputs=False`` only what involves the targets is summed (`retargeted`)."""
        self._workers = workers
        self._inputs = inputs
        self._rows: list[tuple[Array, Array]] = []
        self._waiting = 0
        self._total: _Totals | None = None

    def add(self, X: Array, T: Array) -> None:
        """Add samples X (g, r, D) with targets T (g, r, m), both float32."""
        self._rows.append((X, T))
        self._waiting += X.shape[1]
        if self._waiting >= _ROWS:
            self._flush()

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over the samples of both."""
        both = Sums(self._workers, self._inputs)
        both._total = self._flush() + other._flush()
        return both

    def moments(self, centred: bool = True) -> Moments:
        """Return the moments of all samples so far."""
        s = self._flush()
        if not centred:
            s = s.moved(np.zeros_like(s.p), np.zeros_like(s.q))
        if s.xx is None:
            raise ValueError("the inputs were not summed: ask for `retargeted`")
        if not centred:
            return Moments(s.p, s.q, s.xx / s.n, s.xt / s.n, s.tt / s.n)
        x, t = s.x / s.n, s.t / s.n
        xx, xt = _plus(s.xx / s.n, -x, x), s.xt / s.n - _outer(x, t)
        return Moments(s.p + x, s.q + t, xx, xt, np.maximum(s.tt / s.n - t**2, 0.0))

    def retargeted(self, m: Moments, centred: bool = True) -> Moments:
        """Return ``m``, of the same inputs, with the targets of these sums."""
        s = self._flush()
        if not centred:
            s = s.moved(np.zeros_like(s.p), np.zeros_like(s.q))
            return replace(m, xt=s.xt / s.n, tt=s.tt / s.n)
        x, t = s.x / s.n, s.t / s.n
        xt, tt = s.xt / s.n - _outer(x, t), np.maximum(s.tt / s.n - t**2, 0.0)
        return replace(m, t=s.q + t, xt=xt, tt=tt)

    def _flush(self) -> _Totals:
        if self._rows:
            X = np.concatenate([x for x, _ in self._rows], axis=1)
            T = np.concatenate([t for _, t in self._rows], axis=1)
            self._rows, self._waiting = [], 0
            p, q = (
                (X.mean(axis=1, dtype=np.float64), T.mean(axis=1, dtype=np.float64))
                if self._total is None
                else (self._total.p, self._total.q)
            )
            totals = self._totals(X, T, p.astype(np.float32), q.astype(np.float32))
            self._total = totals if self._total is None else self._total + totals
        if self._total is None:
            raise ValueError("there are no samples")
        return self._total

    def _totals(self, X: Array, T: Array, p: Array, q: Array) -> _Totals:
        X -= p[:, None]
        T -= q[:, None]
        return _Totals(
            *(X.shape[1], p.astype(np.float64), q.astype(np.float64), _sum(X), _sum(T)),
            *(self._product(X, T), _sum(T**2), self._product(X, None) if self._inputs else None),
        )

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


def factored(G: Floats, ridge: float) -> tuple[Floats, bool]:
    """Return scipy's Cholesky factor of G + λ·I (D, D) for a λ of ``ridge`` > 0 or more.

    G is a sum of squares, but in float32, so that rounding may leave it without a factor where its
    inputs are nearly dependent; λ then grows tenfold until there is one.
    """
    while True:
        A = G.copy()
        A.flat[:: len(A) + 1] += ridge
        try:  # A.T lies in LAPACK's order, so that the factor takes A's place
            factor: tuple[Floats, bool] = cho_factor(A.T, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            if not np.isfinite(G).all():
                raise
            ridge *= 10
        else:
            return factor


def shrunk(G: Floats, n: int) -> Floats:
    """Return the second moments G (g, D, D) of ``n`` samples as more samples would show them.

    With few samples inputs seem to be combinations of each other, with fewer than D all do. Below
    four for each input, G becomes (1 - ρ)·G + ρ·tr(G)/D·I, in its place, with the ρ of oracle
    approximating shrinkage (Chen, Wiesel, Eldar and Hero, 2010):

        ρ = ((1 - 2/D)·tr(G²) + tr²(G)) / ((n + 1 - 2/D)·(tr(G²) - tr²(G)/D)), at most 1
    """
    D = G.shape[1]
    if n >= _ENOUGH * D:
        return G
    for g in range(len(G)):
        trace, squares = float(np.trace(G[g])), float(np.vdot(G[g], G[g]))
        spread = (n + 1 - 2 / D) * (squares - trace**2 / D)
        most = (1 - 2 / D) * squares + trace**2
        rho = most / spread if spread > most else 1.0
        G[g] *= 1 - rho
        G[g].flat[:: D + 1] += rho * trace / D
    return G


def _sum(X: Array) -> Floats:
    total: Floats = X.sum(axis=1, dtype=np.float64)
    return total


def _outer(a: Floats, b: Floats) -> Floats:
    return a[:, :, None] * b[:, None, :]


def _plus(A: Floats, a: Floats, b: Floats) -> Floats:
    """Add a·bᵀ (g, D) to A (g, D, D) in its place, and return it; no second matrix is made."""
    for k in range(0, A.shape[1], _BLOCK):
        A[:, k : k + _BLOCK] += a[:, k : k + _BLOCK, None] * b[:, None, :]
    return A
