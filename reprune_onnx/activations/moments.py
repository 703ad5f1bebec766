"""First and second moments of what a layer reads and of what it should make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.gram import Gram, merged, mirror, of_matrix, of_samples
from reprune_onnx.activations.workers import Workers
from reprune_onnx.types import Floats, Ints

Array = NDArray[Any]
_BLOCK = 256  # columns of a Gram matrix that are computed at once
_ROWS = 4096  # samples at most that are gathered before their products are summed
_NUMBERS = 1 << 23  # and inputs of all of them
_MANY = 2048  # inputs, beyond which sums of their products are kept in float32
_FEW = 2  # inputs for each sample, beyond which samples are kept instead of products


@dataclass(frozen=True)
class Moments:
    """Means and centred second moments of ``n`` samples, for g groups of inputs and outputs.

    ``x (g, D)`` and ``t (g, m)`` are the means of inputs and targets; ``xx``, a `Gram` (D, D) of
    each group, ``xt (g, D, m)`` and ``tt (g, m)`` the means of products of what is left without
    them, or of the raw values where the means are zero (a layer that cannot shift its outputs).
    What was not summed (`Sums`) is 0, or () of ``xx``.
    """

    n: int
    x: Floats
    t: Floats
    xx: tuple[Gram, ...]
    xt: Floats
    tt: Floats

    def error(self, W: Floats, outputs: Ints | slice = slice(None)) -> Floats:
        """The mean squared error (g, m') of predicting some targets by W (g, m', D)."""
        fitted = np.einsum("gmd,gdm->gm", W, self.xt[:, :, outputs])
        predicted = np.stack([G.energies(w) for G, w in zip(self.xx, W, strict=True)])
        error: Floats = np.maximum(self.tt[:, outputs] - 2 * fitted + predicted, 0.0)
        return error

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both samples; the matrices of these are used up."""
        n = self.n + other.n
        a, b = self.n / n, other.n / n
        d, e = other.x - self.x, other.t - self.t
        return Moments(
            *(n, a * self.x + b * other.x, a * self.t + b * other.t),
            tuple(
                merged((a, G), (b, H), apart)
                for G, H, apart in zip(self.xx, other.xx, d, strict=True)
            ),
            a * self.xt + b * other.xt + a * b * _outer(d, e),
            a * self.tt + b * other.tt + a * b * e**2,
        )


class Sums:
    """Moments in the making; samples are given in order, so the sums do not depend on threads.

    Products are of float32, over a few thousand samples at a time; sums are float64, but for those
    of the largest matrices, where some tens of such products are summed in float32. The mean of
    the first samples is subtracted before anything is multiplied: where means are large, the
    variance would be lost in the rounding of the squares.
    """

    def __init__(self, workers: Workers, *, xx: bool = True, xt: bool = True) -> None:
        """Without ``xx`` or ``xt`` these products are not summed: they cost nearly all the time."""
        self._workers = workers
        self._with_xx, self._with_xt = xx, xt
        self._rows: tuple[Array, Array] | None = None  # X (g, most, D) and T (g, most, m)
        self._waiting = 0  # of these rows
        self._n = 0

    def add(self, X: Array, T: Array) -> None:
        """Add samples X (g, r, D) with targets T (g, r, m), both float32."""
        D, m = X.shape[2], T.shape[2]
        if self._rows is None:
            most = max(min(_ROWS, _NUMBERS // D), D // _FEW, 1)
            self._rows = (
                np.empty((len(X), most, D), np.float32),
                np.empty((len(T), most, m), np.float32),
            )
        held, targets = self._rows
        while X.shape[1]:
            a = self._waiting
            b = min(a + X.shape[1], held.shape[1])
            held[:, a:b], targets[:, a:b] = X[:, : b - a], T[:, : b - a]
            X, T = X[:, b - a :], T[:, b - a :]
            self._waiting = b
            if b == held.shape[1]:
                self._flush()

    def moments(self, centred: bool = True) -> Moments:
        """Return the moments of all samples, of which there is at least one; ends the sums."""
        if self._with_xx and not self._n and _FEW * self._waiting < self._held()[0].shape[2]:
            return self._of_few(centred)
        self._flush()
        n, p, q = self._n, self._p, self._q
        x, t = self._x / n, self._t / n
        xx, xt, tt = self._xx, self._xt, self._tt
        xx /= n
        xt /= n
        tt /= n
        if self._with_xx:
            for P in xx:
                mirror(P)
            if centred:
                _add(xx, -x, x)
            else:  # E[(x + p)·(x + p)ᵀ]
                _add(xx, x, p)
                _add(xx, p, x + p)
        grams = tuple(map(of_matrix, xx)) if self._with_xx else ()
        if centred:
            xt = xt - _outer(x, t) if self._with_xt else xt
            return Moments(n, p + x, q + t, grams, xt, np.maximum(tt - t**2, 0.0))
        if self._with_xt:
            xt = xt + _outer(x, q) + _outer(p, t + q)
        return Moments(n, np.zeros_like(p), np.zeros_like(q), grams, xt, tt + q * (2 * t + q))

    def _of_few(self, centred: bool) -> Moments:
        """The moments of the samples that wait, by these themselves."""
        X, T = (A.astype(np.float64) for A in self._held())
        n = X.shape[1]
        x, t = X.mean(axis=1), T.mean(axis=1)
        if not centred:
            x, t = np.zeros_like(x), np.zeros_like(t)
        X -= x[:, None]
        T -= t[:, None]
        xt = X.swapaxes(1, 2) @ T / n if self._with_xt else np.zeros(())
        X /= np.sqrt(n)
        return Moments(n, x, t, tuple(map(of_samples, X)), xt, (T**2).mean(axis=1))

    def _held(self) -> tuple[Array, Array]:
        """X (g, r, D) and T (g, r, m) of the samples that wait."""
        assert self._rows is not None  # there is at least one
        X, T = self._rows
        return X[:, : self._waiting], T[:, : self._waiting]

    def _flush(self) -> None:
        if not self._waiting:
            return
        X, T = self._held()
        if not self._n:
            self._start(X, T)
        X -= self._p.astype(np.float32)[:, None]
        T -= self._q.astype(np.float32)[:, None]
        self._n += X.shape[1]
        self._x += np.ones(X.shape[1], np.float32) @ X
        self._t += T.sum(axis=1, dtype=np.float64)
        self._tt += (T**2).sum(axis=1, dtype=np.float64)
        self._multiply(X, T)
        self._waiting = 0

    def _start(self, X: Array, T: Array) -> None:
        """Choose what is subtracted, p (g, D) and q (g, m), both numbers of float32."""
        g, _, D = X.shape
        m = T.shape[2]
        p, q = (A.mean(axis=1, dtype=np.float64).astype(np.float32) for A in (X, T))
        self._p, self._q = p.astype(np.float64), q.astype(np.float64)
        self._x, self._t, self._tt = np.zeros((g, D)), np.zeros((g, m)), np.zeros((g, m))
        kind = np.float32 if D > _MANY else np.float64
        self._xx = np.zeros((g, D, D) if self._with_xx else (), kind)
        self._xt = np.zeros((g, D, m) if self._with_xt else ())

    def _multiply(self, X: Array, T: Array) -> None:
        """Add XᵀT (g, D, m) and the upper blocks of XᵀX (g, D, D); in blocks of fixed size."""
        size = X.shape[2]

        def block(k: int) -> None:
            a, b = k * _BLOCK, min((k + 1) * _BLOCK, size)
            left = X[:, :, a:b].swapaxes(1, 2)
            if self._with_xt:
                self._xt[:, a:b] += left @ T
            if self._with_xx:
                self._xx[:, a:b, a:b] += left @ X[:, :, a:b]  # numpy takes ?syrk: half the products
                self._xx[:, a:b, b:] += left @ X[:, :, b:]

        if self._with_xx or self._with_xt:
            self._workers.run(block, -(-size // _BLOCK))


def _outer(a: Floats, b: Floats) -> Floats:
    return a[:, :, None] * b[:, None, :]


def _add(A: NDArray[np.floating], a: Floats, b: Floats) -> None:
    """Add a·bᵀ (g, D) to A (g, D, D), of which no second one is made."""
    for k in range(0, A.shape[1], _BLOCK):
        A[:, k : k + _BLOCK] += a[:, k : k + _BLOCK, None] * b[:, None, :]
