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
from functools import cached_property

import numpy as np

from reprune_onnx.activations.gram import Gram, mirror
from reprune_onnx.types import Bools, Floats, Ints

_RIDGE = 1e-4  # of the mean diagonal: inputs that hardly vary do not become free
_WAITING = 256  # updates of P and W that are applied at once
_HELD = 8192  # inputs, beyond which P is too large to be held beside what becomes of it
_BLOCK = 256  # rows of P that they are applied to at once


@dataclass(frozen=True)
class Reader:
    """A layer, or one group of a grouped one, that reads a group's channels.

    ``W (m, D)`` in units in which errors of all layers compare, ``G (D, D)`` the centred second
    moments of its inputs. ``inputs[i]`` are the inputs that carry channel i of the group.
    """

    W: Floats
    G: Gram
    inputs: tuple[Ints, ...]

    @property
    def ridge(self) -> float:
        """λ, a small share of the mean diagonal of G."""
        return _RIDGE * (self.G.scale or 1.0)

    def inverse(self) -> Floats:
        """P = (G + λ·I)⁻¹ (D, D); of few inputs it is computed once."""
        return self._inverse if self.G.inputs <= _HELD else self.G.inverse(self.ridge)

    @cached_property
    def _inverse(self) -> Floats:
        return self.G.inverse(self.ridge)


@dataclass(frozen=True)
class Curve:
    """``order (n,)`` from the channel that goes last to the one that goes first.

    ``error (n + 1,)`` is what is lost once the first k of them are left, k = 0 … n; it does not
    increase with k.
    """

    order: Ints
    error: Floats


def eliminate(readers: Sequence[Reader], fixed: Bools, by_number: Floats | None = None) -> Curve:
    """Remove the channels of a group one by one; those ``fixed (n,)`` go last.

    ``by_number (n + 1,)`` is lost besides with k channels left, whichever they are. Without readers
    the order is that of the channels.
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
    return Curve(order, error if by_number is None else error + by_number)


def lost(readers: Sequence[Reader], choices: Sequence[Ints]) -> Floats:
    """Return the errors if only the channels of each choice are left."""
    errors = np.zeros(len(choices))
    for r in readers:
        every = np.arange(len(r.inputs))
        gone = [
            np.concatenate([np.empty(0, np.int64), *(r.inputs[i] for i in np.setdiff1d(every, c))])
            for c in choices
        ]
        errors += r.G.lost(r.W, gone, r.ridge, r.inverse)
    return errors


@dataclass(frozen=True)
class _Class:
    """Channels that are read through equally many inputs.

    Channel ``channels[j]`` of ``(l,)`` is carried by the inputs ``inputs[j]`` of ``(l, s)``, where
    P has the block ``blocks[j]`` and WᵀW the block ``squares[j]``, both of ``(l, s, s)``.
    """

    channels: Ints
    inputs: Ints
    blocks: Floats
    squares: Floats

    def costs(self) -> Floats:
        """tr(W_b·P_bb⁻¹·W_bᵀ) of each channel (l,)."""
        if self.inputs.shape[1] == 1:
            return np.asarray(self.squares[:, 0, 0] / self.blocks[:, 0, 0])
        costs: Floats = np.linalg.solve(self.blocks, self.squares).trace(axis1=1, axis2=2)
        return costs

    def without(self, i: int, P_b: Floats, rows: Floats, half: Floats) -> _Class:
        """Return the class once channel i has gone.

        P_b (s, D) are rows of P, ``rows`` are R = P_bb⁻¹·P_b, and ``half`` is
        W_bᵀ·W - ½·W_bᵀ·W_b·R, so that WᵀW loses Rᵀ·half and its transpose.
        """
        left = self.channels != i
        inputs = self.inputs[left]
        R = rows.T[inputs]  # (l, s', s)
        blocks = self.blocks[left] - P_b.T[inputs] @ R.swapaxes(1, 2)
        change = R @ half.T[inputs].swapaxes(1, 2)
        squares = self.squares[left] - change - change.swapaxes(1, 2)
        return _Class(self.channels[left], inputs, blocks, squares)


class _State:
    """The inverse moments P and the refitted weights W of a reader, while channels go.

    P is ``base - U·V`` and W is ``weights - A·V``: the updates of the last channels wait as columns
    of U and A and rows of V, until one matrix product applies them all, and the inputs that are
    gone leave every array. The diagonal blocks of P and WᵀW, which each step asks for, are always
    up to date.
    """

    waiting: int  # r
    U: Floats  # (D, most), of which r columns are in use
    A: Floats  # (m, most)
    V: Floats  # (most, D)
    left: Bools  # (D,)
    classes: list[_Class]

    def __init__(self, reader: Reader) -> None:
        self.n = len(reader.inputs)
        self.inputs = {i: b for i, b in enumerate(reader.inputs) if len(b)}
        self.base = reader.inverse()
        self.weights = reader.W
        self._start()

    def costs(self) -> Floats:
        """The loss that removing each channel would add (n,); 0 for channels gone or not read."""
        costs = np.zeros(self.n)
        for c in self.classes:
            costs[c.channels] = c.costs()
        return costs

    def remove(self, i: int) -> None:
        """Refit without channel i."""
        b = self.inputs.pop(i, None)
        if b is None:
            return
        r, end = self.waiting, self.waiting + len(b)
        V = self.V[:r]
        P_b = self.base[b] - self.U[b, :r] @ V  # (s, D)
        P_b[:, ~self.left] = 0.0  # exactly: rounding would grow from step to step
        rows = np.asarray(np.linalg.solve(P_b[:, b], P_b), dtype=np.float64)
        W_b = self.weights[:, b] - self.A[:, :r] @ V[:, b]  # (m, s)
        half = W_b.T @ self.weights - (W_b.T @ self.A[:, :r]) @ V
        half -= 0.5 * half[:, b] @ rows
        self.left[b] = False
        self.U[:, r:end], self.A[:, r:end], self.V[r:end] = P_b.T, W_b, rows
        self.waiting = end
        if end < _WAITING:
            self.classes = [c.without(i, P_b, rows, half) for c in self.classes]
        else:
            self._apply()

    def _apply(self) -> None:
        """Bring P and W up to date, without the inputs that are gone."""
        left, r = np.flatnonzero(self.left), self.waiting
        V = self.V[:r, left]
        base = np.empty((len(left), len(left)))
        for k in range(0, len(left), _BLOCK):
            rows, upper = left[k : k + _BLOCK], left[k:]
            change = self.U[rows, :r] @ V[:, k:]
            np.subtract(self.base[np.ix_(rows, upper)], change, out=base[k : k + _BLOCK, k:])
        mirror(base)
        self.base = base
        self.weights = self.weights[:, left]
        self.weights -= self.A[:, :r] @ V
        self.inputs = {i: np.searchsorted(left, b) for i, b in self.inputs.items()}
        self._start()

    def _start(self) -> None:
        m, D = self.weights.shape
        sizes = sorted({len(b) for b in self.inputs.values()})
        most = _WAITING + max(sizes, default=0)
        self.left, self.waiting = np.ones(D, dtype=bool), 0
        self.U, self.A, self.V = np.empty((D, most)), np.empty((m, most)), np.empty((most, D))
        self.classes = []
        for size in sizes:
            channels = np.array([i for i, b in self.inputs.items() if len(b) == size])
            inputs = np.stack([self.inputs[i] for i in channels])
            blocks = self.base[inputs[:, :, None], inputs[:, None, :]]
            W = self.weights.T[inputs]  # (l, s, m)
            self.classes.append(_Class(channels, inputs, blocks, W @ W.swapaxes(1, 2)))
