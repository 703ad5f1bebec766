"""The combinations of channels by which two linear maps, one behind the other, lose least.

Of d channels between them n are left. If the first makes P·x in place of x, and the second reads
that in place of w with Q·w, a product w·x changes least over all x and w for

    min E|wᵀx - (Q·w)ᵀ(P·x)|² = min ‖A·(I - QᵀP)·B‖²        A = E[w·wᵀ]^½,  B = E[x·xᵀ]^½

With the singular values A·B = U·Σ·Vᵀ, of which the n largest are taken, Q = Σ_n^½·U_nᵀ·A⁻¹ and
P = Σ_n^½·V_nᵀ·B⁻¹; the squares of the others are lost.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.types import Floats, Ints

_LEAST = 1e-6  # of the largest eigenvalue: what varies less is nothing


def low_rank(first: Floats, second: Floats, n: int) -> tuple[Floats, Floats]:
    """Return Q and P (n, d) for the second moments (d, d) of w and of x."""
    (A, A_inverse), (B, B_inverse) = _roots(first), _roots(second)
    U, sigma, Vt = np.linalg.svd(A @ B)
    root = np.sqrt(sigma[:n])[:, None]
    Q: Floats = root * (U.T[:n] @ A_inverse)
    P: Floats = root * (Vt[:n] @ B_inverse)
    return Q, P


def lost_by_rank(first: Floats, second: Floats) -> Floats:
    """Return E|wᵀx - (Q·w)ᵀ(P·x)|² (d + 1,) for n = 0 … d."""
    sigma = np.linalg.svd(_roots(first)[0] @ _roots(second)[0], compute_uv=False)
    return np.asarray(np.concatenate([np.cumsum((sigma**2)[::-1])[::-1], [0.0]]))


def given(G: Floats, stays: Ints) -> Floats:
    """Return G_SS⁻¹·G_S: (n, d): the P for channels w that are no combinations, but ``stays``."""
    part = G[np.ix_(stays, stays)]
    ridge = _LEAST * float(np.trace(part)) / len(stays) or 1.0
    return np.asarray(np.linalg.solve(part + ridge * np.eye(len(stays)), G[stays]), np.float64)


def _roots(G: Floats) -> tuple[Floats, Floats]:
    """G^½ and its inverse, where G is not 0."""
    values, vectors = np.linalg.eigh(G)
    values = np.maximum(values, 0.0)
    some = values > _LEAST * values.max(initial=0.0)
    root = np.sqrt(np.where(some, values, 0.0))
    inverse = np.where(some, 1.0 / np.where(some, root, 1.0), 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
