"""Backward elimination: the order in which a group's channels go, and the error after each.

A layer that reads x (D,) computes W·x. If only the inputs S stay and the layer is refitted by least
squares, what is lost is the Schur complement tr(W_R·(G_RR - G_RS·G_SS⁻¹·G_SR)·W_Rᵀ) of the moments
G = E[x·xᵀ]. With P = G⁻¹ and the refitted weights W at hand, removing the inputs b of one more
channel adds tr(W_b·P_bb⁻¹·W_bᵀ), after which

    W ← W - W_b·P_bb⁻¹·P_b:        P ← P - P_:b·P_bb⁻¹·P_b:

The channel that adds least over all layers that read the group goes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from reprune_onnx.activations.moments import factored
from reprune_onnx.types import Bools, Floats, Ints

_RIDGE = 1e-4  # of the mean diagonal: inputs that hardly vary do not become free
_ROUNDING = 1e-12  # of the mean diagonal of an inverse
_WAITING = 128  # updates of the inverse that are applied at once


@dataclass(frozen=True)
class Reader:
    """A layer, or one group of a grouped one, that reads a group's channels.

    ``W (m, D)`` in units in which errors of all layers compare, ``G (D, D)`` the centred second
    moments of its inputs. ``inputs[i]`` are the inputs that carry channel i of the group.
    """

    W: Floats
    G: Floats
    inputs: tuple[Ints, ...]


@dataclass(frozen=True)
class Curve:
    """``order (n,)`` from the channel that goes last to the one that goes first.

    ``error (n + 1,)`` is what is lost once the first k of them are left, k = 0 … n; it does not
    increase with k.
    """

    order: Ints
    error: Floats


def eliminate(readers: Sequence[Reader], fixed: Bools) -> Curve:
    """Remove the channels of a group one by one; those ``fixed (n,)`` go last.

    Without readers all errors are 0 and the order is that of the channels.
    """
    n = len(fixed)
    states = [_State(reader) for reader in readers]
    error = np.zeros(n + 1)
    order = np.empty(n, dtype=np.int64)
    left = np.ones(n, dtype=bool)
    for k in range(n, 0, -1):
        costs = sum((s.costs() for s in states), np.zeros(n))
        costs[~left] = np.inf
        movable = left & ~fixed if (left & ~fixed).any() else left
        i = int(np.argmin(np.where(movable, costs, np.inf)))
        order[k - 1] = i
        error[k - 1] = error[k] + max(0.0, float(costs[i]))
        for s in states:
            s.remove(i)
        left[i] = False
    return Curve(order, error)


def lost(readers: Sequence[Reader], choices: Sequence[Ints]) -> Floats:
    """Return the errors if only the channels of each choice are left.

    The Schur complement above is the inverse of P_RR, so that with its Cholesky factor L the error
    is ‖L⁻¹·W_Rᵀ‖² (here U = Lᵀ).
    """
    errors = np.zeros(len(choices))
    for r in readers:
        P = _inverse(r.G)
        for k, kept in enumerate(choices):
            gone = np.setdiff1d(np.arange(len(r.inputs)), kept)
            R = np.concatenate([np.empty(0, np.int64), *(r.inputs[i] for i in gone)])
            if len(R):
                rest = P[np.ix_(R, R)]
                U, lower = factored(rest, _ROUNDING * float(np.trace(rest)) / len(R))
                half = solve_triangular(U, r.W[:, R].T, trans="T", lower=lower, check_finite=False)
                errors[k] += float(np.vdot(half, half))
    return errors


def _ridge(G: Floats) -> float:
    return _RIDGE * (float(np.trace(G)) / len(G) or 1.0)


@dataclass(frozen=True)
class _Class:
    """Channels that are read through equally many inputs.

    Channel ``channels[j]`` of ``(l,)`` is carried by the inputs ``inputs[j]`` of ``(l, s)``, where
    P has the block ``blocks[j]`` of ``(l, s, s)``.
    """

    channels: Ints
    inputs: Ints
    blocks: Floats

    def without(self, i: int, P_b: Floats, rows: Floats) -> _Class:
        """Return the class once channel i has gone, with rows ``P_b`` and P_bb⁻¹·P_b (s, D)."""
        left = self.channels != i
        inputs = self.inputs[left]
        change = P_b.T[inputs] @ rows.T[inputs].swapaxes(1, 2)
        return _Class(self.channels[left], inputs, self.blocks[left] - change)


class _State:
    """The inverse moments P and the refitted weights W of a reader, while channels go.

    P is ``base - U·V``: the updates of the last channels wait as columns of U and rows of V, until
    one matrix product applies them all, and the inputs that are gone leave every array. W and the
    diagonal blocks P_bb, which each step asks for, are always up to date.
    """

    U: Floats  # (D, r)
    V: Floats  # (r, D)
    left: Bools  # (D,)
    classes: list[_Class]

    def __init__(self, reader: Reader) -> None:
        self.n = len(reader.inputs)
        self.inputs = {i: b for i, b in enumerate(reader.inputs) if len(b)}
        self.base = _inverse(reader.G)
        self.W = np.array(reader.W)
        self._start()

    def costs(self) -> Floats:
        """What removing each channel would add (n,); 0 for those that are gone or not read."""
        costs = np.zeros(self.n)
        for c in self.classes:
            W = self.W[:, c.inputs].swapaxes(0, 1)  # (l, m, s)
            S = W.swapaxes(1, 2) @ W
            costs[c.channels] = np.linalg.solve(c.blocks, S).trace(axis1=1, axis2=2)
        return costs

    def remove(self, i: int) -> None:
        """Refit without channel i."""
        b = self.inputs.pop(i, None)
        if b is None:
            return
        P_b = self.base[b] - self.U[b] @ self.V  # (s, D)
        P_b[:, ~self.left] = 0.0  # exactly: rounding would grow from step to step
        rows = np.asarray(np.linalg.solve(P_b[:, b], P_b), dtype=np.float64)
        self.W -= self.W[:, b] @ rows
        self.left[b] = False
        self.W[:, b] = 0.0
        self.U, self.V = np.concatenate([self.U, P_b.T], axis=1), np.concatenate([self.V, rows])
        if len(self.V) < _WAITING:
            self.classes = [c.without(i, P_b, rows) for c in self.classes]
        else:
            self._apply()

    def _apply(self) -> None:
        """Bring P up to date, without the inputs that are gone."""
        left = np.flatnonzero(self.left)
        self.base = self.base[np.ix_(left, left)]
        self.base -= self.U[left] @ self.V[:, left]
        self.W = self.W[:, left]
        self.inputs = {i: np.searchsorted(left, b) for i, b in self.inputs.items()}
        self._start()

    def _start(self) -> None:
        D = len(self.base)
        self.left = np.ones(D, dtype=bool)
        self.U, self.V = np.empty((D, 0)), np.empty((0, D))
        self.classes = []
        for size in sorted({len(b) for b in self.inputs.values()}):
            channels = np.array([i for i, b in self.inputs.items() if len(b) == size])
            inputs = np.stack([self.inputs[i] for i in channels])
            blocks = self.base[inputs[:, :, None], inputs[:, None, :]]
            self.classes.append(_Class(channels, inputs, blocks))


def _inverse(G: Floats) -> Floats:
    """(G + λ·I)⁻¹ of moments G (D, D)."""
    from scipy.linalg.lapack import dpotri

    factor, lower = factored(G, _ridge(G))
    triangle, failed = dpotri(factor, lower=lower, overwrite_c=True)
    if failed:
        raise np.linalg.LinAlgError(f"dpotri: {failed}")
    half = np.tril(triangle) if lower else np.triu(triangle)
    inverse: Floats = half + half.T
    inverse.flat[:: len(half) + 1] /= 2
    return inverse
