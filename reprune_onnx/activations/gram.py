"""The second moments G = E[x·xᵀ] (D, D) of a layer's inputs: as a matrix, or by the samples.

Of fewer samples n than half the inputs, G = AᵀA + c·I is held as A (n, D). What is done with it
then takes n²·D operations instead of D³, and n·D numbers instead of D²: of the 25,088 inputs of a
VGG's first fully connected layer G alone would take 5 GB.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri

from reprune_onnx.types import Floats, Ints

_BLOCK = 256  # rows of a matrix that are changed at once
_FAINT = 1e-14  # of the mean diagonal of an inverse: beyond its rounding, below all that it says
_ENOUGH = 4  # samples of each input, from which on what is lost is off by a third at most

Solve = Callable[[Floats], Floats]
"""B (D, m) ↦ (G + λ·I)⁻¹·B."""
Inverse = Callable[[], Floats]
"""(G + λ·I)⁻¹ (D, D), for who needs it."""


class Gram(ABC):
    """Second moments G (D, D), which are symmetric and have no negative eigenvalue."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """D."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """The mean diagonal tr(G)/D."""

    @abstractmethod
    def matrix(self) -> NDArray[np.floating]:
        """G (D, D)."""

    @abstractmethod
    def times(self, B: Floats) -> Floats:
        """G·B (D, m)."""

    @abstractmethod
    def energies(self, W: Floats) -> Floats:
        """The mean squares (m,) of W·x for W (m, D): the diagonal of W·G·Wᵀ."""

    @abstractmethod
    def solver(self, ridge: float) -> Solve:
        """The solution of (G + λ·I)·X = B for a λ of ``ridge`` > 0 or, see `factored`, more."""

    @abstractmethod
    def inverse(self, ridge: float) -> Floats:
        """(G + λ·I)⁻¹ (D, D)."""

    @abstractmethod
    def lost(
        self, W: Floats, gone: Sequence[Ints], ridge: float, P: Callable[[], Floats]
    ) -> Floats:
        """The loss of W (m, D) without the inputs ``gone[k]``, refitted to those that are left.

        With G + λ·I in G's place, R the inputs that are gone and S the others it is
        tr(W_R·(G_RR - G_RS·G_SS⁻¹·G_SR)·W_Rᵀ), a number for each k. ``P`` gives (G + λ·I)⁻¹ (D, D),
        where that is of use.
        """

    @abstractmethod
    def shrunk(self, n: int) -> Gram:
        """These moments of ``n`` samples as more samples would show them; they are used up.

        With few samples inputs seem to be combinations of each other, with fewer than D all do.
        Below four for each input, G becomes (1 - ρ)·G + ρ·tr(G)/D·I with the ρ of oracle
        approximating shrinkage (Chen, Wiesel, Eldar and Hero, 2010):

            ρ = ((1 - 2/D)·tr(G²) + tr²(G)) / ((n + 1 - 2/D)·(tr(G²) - tr²(G)/D)), at most 1
        """

    def _rho(self, squares: float, n: int) -> float:
        """The ρ of `shrunk`, where ``squares`` is tr(G²)."""
        D, trace = self.inputs, self.scale * self.inputs
        spread = (n + 1 - 2 / D) * (squares - trace**2 / D)
        most = (1 - 2 / D) * squares + trace**2
        return most / spread if spread > most else 1.0


@dataclass(frozen=True)
class _Full(Gram):
    """G (D, D) as it is, in float64 or, of many inputs, in float32."""

    G: NDArray[np.floating]

    @property
    def inputs(self) -> int:
        return len(self.G)

    @property
    def scale(self) -> float:
        return float(np.trace(self.G, dtype=np.float64)) / len(self.G)

    def matrix(self) -> NDArray[np.floating]:
        return self.G

    def times(self, B: Floats) -> Floats:
        return _times(self.G, B)

    def energies(self, W: Floats) -> Floats:
        energies: Floats = np.einsum("dm,md->m", self.times(W.T), W)
        return energies

    def solver(self, ridge: float) -> Solve:
        factor = factored(self.G, ridge)
        return lambda B: cho_solve(factor, B, check_finite=False)

    def inverse(self, ridge: float) -> Floats:
        factor, lower = factored(self.G, ridge)
        P, failed = dpotri(factor, lower=lower, overwrite_c=True)
        if failed:
            raise np.linalg.LinAlgError(f"dpotri: {failed}")
        mirror(P.T if lower else P)
        return np.asarray(P.T)  # by rows

    def lost(
        self, W: Floats, gone: Sequence[Ints], ridge: float, P: Callable[[], Floats]
    ) -> Floats:
        """By R or by S, whichever are fewer.

        The Schur complement is (P_RR)⁻¹: with the Cholesky factor L of P_RR the loss is
        ‖L⁻¹·W_Rᵀ‖². With the L of G_SS + λ·I it is the energy tr(W_R·(G_RR + λ·I)·W_Rᵀ) less what
        x_S predicts of it, ‖L⁻¹·G_SR·W_Rᵀ‖².
        """
        losses, made = np.zeros(len(gone)), self.times(W.T) + ridge * W.T  # (D, m)
        for k, R in enumerate(gone):
            S = np.setdiff1d(np.arange(self.inputs), R)
            if not len(R):
                continue
            if len(R) < len(S):
                P_R = P()[np.ix_(R, R)]
                losses[k] = _squares(P_R, _FAINT * np.trace(P_R) / len(R), W[:, R].T)
                continue
            W_S, G_S = W[:, S].T, self.G[np.ix_(S, S)]
            mine = _times(G_S, W_S) + ridge * W_S  # (s, m)
            energy = np.vdot(W.T, made) - 2 * np.vdot(W_S, made[S]) + np.vdot(W_S, mine)
            losses[k] = max(0.0, float(energy) - _squares(G_S, ridge, made[S] - mine))
        return losses

    def shrunk(self, n: int) -> _Full:
        G, D = self.G, self.inputs
        if n < _ENOUGH * D:
            squares = sum(float(np.vdot(rows, rows)) for rows in G)
            scale, rho = self.scale, self._rho(squares, n)
            G *= 1 - rho
            G.flat[:: D + 1] += rho * scale
        return self


@dataclass(frozen=True)
class _Thin(Gram):
    """G = AᵀA + c·I of ``A (n, D)`` and c = ``more``."""

    A: Floats
    more: float = 0.0

    @property
    def inputs(self) -> int:
        return int(self.A.shape[1])

    @property
    def scale(self) -> float:
        return float(np.vdot(self.A, self.A)) / self.inputs + self.more

    def matrix(self) -> Floats:
        G: Floats = self.A.T @ self.A
        G.flat[:: len(G) + 1] += self.more
        return G

    def times(self, B: Floats) -> Floats:
        product: Floats = self.A.T @ (self.A @ B)
        return product + self.more * B if self.more else product

    def energies(self, W: Floats) -> Floats:
        energies: Floats = ((self.A @ W.T) ** 2).sum(axis=0) + self.more * (W**2).sum(axis=1)
        return energies

    def solver(self, ridge: float) -> Solve:
        """(AᵀA + λ·I)⁻¹·B = (B - Aᵀ·(AAᵀ + λ·I)⁻¹·A·B)/λ."""
        A, ridge = self.A, ridge + self.more
        factor = factored(A @ A.T, ridge)
        return lambda B: (B - A.T @ cho_solve(factor, A @ B, check_finite=False)) / ridge

    def inverse(self, ridge: float) -> Floats:
        A, ridge = self.A, ridge + self.more
        U, lower = factored(A @ A.T, ridge)
        half = solve_triangular(U, A, trans="T", lower=lower, check_finite=False)
        P: Floats = half.T @ half
        P /= -ridge
        P.flat[:: len(P) + 1] += 1 / ridge
        return P

    def lost(
        self, W: Floats, gone: Sequence[Ints], ridge: float, P: Callable[[], Floats]
    ) -> Floats:
        """The Schur complement is λ·I + A_Rᵀ·(I + A_S·A_Sᵀ/λ)⁻¹·A_R."""
        A, ridge = self.A, ridge + self.more
        every, losses = A @ A.T, np.zeros(len(gone))
        for k, R in enumerate(gone):
            W_R, A_R = W[:, R], A[:, R]
            S = np.setdiff1d(np.arange(self.inputs), R)
            left = every - A_R @ A_R.T if len(R) < len(S) else A[:, S] @ A[:, S].T
            half = _squares(left / ridge, 1.0, A_R @ W_R.T)
            losses[k] = ridge * float(np.vdot(W_R, W_R)) + half
        return losses

    def shrunk(self, n: int) -> _Thin:
        if n >= _ENOUGH * self.inputs:
            return self
        K = self.A @ self.A.T
        rho = self._rho(float(np.vdot(K, K)), n)
        return _Thin(np.sqrt(1 - rho) * self.A, rho * self.scale)


def of_matrix(G: NDArray[np.floating]) -> Gram:
    """The moments G (D, D), which belong to the result from now on."""
    return _Full(G)


def of_samples(A: Floats) -> Gram:
    """The moments AᵀA of samples A (n, D) that were divided by √n."""
    return _Thin(A)


def merged(one: tuple[float, Gram], other: tuple[float, Gram], apart: Floats) -> Gram:
    """The moments of two samples together; their matrices are used up.

    ``one`` is a of all samples and has the moments G, ``other`` b and H, and their means are d =
    ``apart`` (D,) from each other: together they have a·G + b·H + a·b·d·dᵀ.
    """
    (a, G), (b, H), d = one, other, apart
    if isinstance(G, _Thin) and isinstance(H, _Thin):
        parts = [np.sqrt(a) * G.A, np.sqrt(b) * H.A, np.sqrt(a * b) * d[None]]
        return _Thin(np.concatenate(parts), a * G.more + b * H.more)
    whole, added = G.matrix(), H.matrix()
    whole *= a
    for k in range(0, len(whole), _BLOCK):  # no third matrix is made
        whole[k : k + _BLOCK] += b * added[k : k + _BLOCK]
        whole[k : k + _BLOCK] += a * b * d[k : k + _BLOCK, None] * d
    return _Full(whole)


def mirror(P: NDArray[np.floating]) -> None:
    """Fill what lies below the diagonal of a symmetric P (D, D), from what lies above it."""
    for a in range(0, len(P), _BLOCK):
        b = a + _BLOCK
        P[b:, a:b] = P[a:b, b:].T
        square = P[a:b, a:b]
        square[...] = np.triu(square) + np.triu(square, 1).T


def _times(G: NDArray[np.floating], B: Floats) -> Floats:
    """G·B (D, m) in float64; of a G in float32 no copy is made."""
    if G.dtype == B.dtype:
        return np.asarray(G @ B)
    product = np.empty((len(G), B.shape[1]))
    for k in range(0, len(G), _BLOCK):
        product[k : k + _BLOCK] = G[k : k + _BLOCK].astype(np.float64) @ B
    return product


def _squares(G: NDArray[np.floating], ridge: float, B: Floats) -> float:
    """‖L⁻¹·B‖² for B (D, m) and the Cholesky factor L of G + λ·I (D, D)."""
    if not len(G):
        return 0.0
    U, lower = factored(G, ridge)
    half = solve_triangular(U, B, trans="T", lower=lower, check_finite=False)
    return float(np.vdot(half, half))


def factored(G: NDArray[np.floating], ridge: float) -> tuple[Floats, bool]:
    """Return scipy's Cholesky factor of G + λ·I (D, D) for a λ of ``ridge`` > 0 or more.

    G is a sum of squares, but in float32, so that rounding may leave it without a factor where its
    inputs are nearly dependent; λ then grows tenfold until there is one.
    """
    while True:
        A = G.astype(np.float64)
        A.flat[:: len(A) + 1] += ridge
        try:  # A.T lies in LAPACK's order, so that the factor takes A's place
            factor: tuple[Floats, bool] = cho_factor(A.T, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            if not np.isfinite(G).all():
                raise
            ridge *= 10
        else:
            return factor
