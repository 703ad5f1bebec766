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
from scipy.linalg import cho_solve

from reprune_onnx.activations.moments import factored
from reprune_onnx.types import Bools, Floats, Ints

_RIDGE = 1e-4  # of the mean diagonal: inputs that hardly vary do not become free


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
        costs = sum((s.costs(left) for s in states), np.zeros(n))
        costs[~left] = np.inf
        movable = left & ~fixed if (left & ~fixed).any() else left
        i = int(np.argmin(np.where(movable, costs, np.inf)))
        order[k - 1] = i
        error[k - 1] = error[k] + max(0.0, float(costs[i]))
        for s in states:
            s.remove(i)
        left[i] = False
    return Curve(order, error)


def lost(readers: Sequence[Reader], kept: Ints) -> float:
    """Return the error if only the channels ``kept`` are left."""
    total = 0.0
    for r in readers:
        gone = np.setdiff1d(np.arange(len(r.inputs)), kept)
        R = np.concatenate([np.empty(0, np.int64), *(r.inputs[i] for i in gone)])
        if not len(R):
            continue
        S = np.setdiff1d(np.arange(len(r.G)), R)
        rest = r.G[np.ix_(R, R)] + _ridge(r.G) * np.eye(len(R))
        if len(S):
            factor = factored(r.G[np.ix_(S, S)], _ridge(r.G))
            cross = r.G[np.ix_(S, R)]
            rest = rest - cross.T @ cho_solve(factor, cross, check_finite=False)
        total += float(np.einsum("mr,rs,ms->", r.W[:, R], rest, r.W[:, R], optimize=True))
    return max(0.0, total)


def _ridge(G: Floats) -> float:
    return _RIDGE * (float(np.trace(G)) / len(G) or 1.0)


class _State:
    def __init__(self, reader: Reader) -> None:
        factor = factored(reader.G, _ridge(reader.G))
        unit = np.eye(len(reader.G), order="F")  # LAPACK's order: the inverse takes its place
        self.P: Floats = cho_solve(factor, unit, overwrite_b=True, check_finite=False).T
        self.W = np.array(reader.W)
        self.inputs = reader.inputs
        sizes = {len(b) for b in reader.inputs}
        self.table = np.stack(reader.inputs) if len(sizes) == 1 else None

    def costs(self, left: Bools) -> Floats:
        """What removing each channel would add (n,)."""
        n = len(self.inputs)
        if self.table is None:
            return np.array([self.cost(i) if left[i] else 0.0 for i in range(n)])
        found = np.zeros(n)
        rows = self.table[left]  # (l, s)
        if rows.shape[1]:
            blocks = self.P[rows[:, :, None], rows[:, None, :]]  # (l, s, s)
            W = self.W[:, rows].swapaxes(0, 1)  # (l, m, s)
            S = W.swapaxes(1, 2) @ W
            found[left] = np.linalg.solve(blocks, S).trace(axis1=1, axis2=2)
        return found

    def cost(self, i: int) -> float:
        """What removing one channel would add."""
        b = self.inputs[i]
        if not len(b):
            return 0.0
        S = self.W[:, b].T @ self.W[:, b]
        return float(np.trace(np.linalg.solve(self.P[np.ix_(b, b)], S)))

    def remove(self, i: int) -> None:
        """Refit without channel i."""
        b = self.inputs[i]
        if not len(b):
            return
        rows = np.linalg.solve(self.P[np.ix_(b, b)], self.P[b])  # (s, D)
        self.W -= self.W[:, b] @ rows
        self.P -= self.P[:, b] @ rows
        # Exactly gone: rounding would grow from step to step.
        self.W[:, b] = 0.0
        self.P[b] = self.P[:, b] = 0.0
        self.P[b, b] = 1.0
