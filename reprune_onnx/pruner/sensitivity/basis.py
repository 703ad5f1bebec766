"""The basis of a stream whose last axes carry least of what its readers make of it.

The readers compute W_c·x. Let only the first r of the coordinates u = A·x be left, and x be
predicted by these. With the moments G = E[x·xᵀ] and C = Σ W_cᵀ·W_c what is lost is

    tr(C·(G - G·A_rᵀ·(A_r·G·A_rᵀ)⁻¹·A_r·G))

With C = L·Lᵀ it is least for all r at once, if A = Qᵀ·Lᵀ with the eigenvectors Q of Lᵀ·G·L, from
the largest eigenvalue to the smallest. That is exact where the readers have 1×1 kernels; else G is
the mean over the places in the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprune_onnx.activations.gram import of_matrix
from reprune_onnx.pruner.sensitivity.elimination import Reader
from reprune_onnx.types import Floats

_RIDGE = 1e-3  # of the mean diagonal of C: directions that nothing reads stay in the basis
_FAINT = 1e-4  # of the largest eigenvalue, below which an axis is not scaled up any more


def basis_of(readers: Sequence[Reader], n: int) -> Floats:
    """Return A (n, n) for a stream of n channels; its axes vary about equally.

    The inputs of each reader lie channel by channel, as many for each.
    """
    C, G = np.zeros((n, n)), np.zeros((n, n))
    for reader in readers:
        taps = reader.W.shape[1] // n
        W = reader.W.reshape(-1, n, taps)
        C += np.einsum("mit,mjt->ij", W, W)
        moments = reader.G.matrix().reshape(n, taps, n, taps)
        G += np.einsum("itjt->ij", moments) / (taps * len(readers))
    C.flat[:: n + 1] += _RIDGE * np.trace(C) / n
    L = np.linalg.cholesky(C)
    energies, Q = np.linalg.eigh(L.T @ G @ L)
    energies, Q = energies[::-1], Q[:, ::-1]
    A = (L @ Q).T
    spread = np.sqrt(np.maximum(energies, _FAINT * energies[0]))
    scaled: Floats = A * (np.sqrt(np.trace(G) / n) / spread)[:, None]
    return scaled


def turned_reader(reader: Reader, A: Floats) -> Reader:
    """Return the reader as it reads A·x."""
    n = len(A)
    taps = reader.W.shape[1] // n
    back = np.linalg.inv(A)
    W = np.einsum("mit,ij->mjt", reader.W.reshape(-1, n, taps), back).reshape(reader.W.shape)
    G = reader.G.matrix().reshape(n, taps, n, taps)
    turned = np.einsum("ia,atbs,jb->itjs", A, G, A, optimize=True)
    return Reader(W, of_matrix(turned.reshape(n * taps, n * taps)), reader.inputs)
