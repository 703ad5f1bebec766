"""Ridge regression towards the weights that a layer has, with a ridge chosen on other images."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve

from reprune_onnx.activations.moments import Moments, factored
from reprune_onnx.types import Floats

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def solve(m: Moments, W0: Floats, ridge: float) -> Floats:
    """Return W (g, m, D) that minimises ‖T - X·Wᵀ‖²/n + λ·‖W - W0‖².

    λ = ``ridge`` · mean diagonal of XᵀX/n, so that
    W = W0 + (XᵀT - XᵀX·W0ᵀ)ᵀ·(XᵀX + λ·I)⁻¹. Inputs that are zero in all samples keep their weights.
    """
    W = np.array(W0)
    for g in range(len(W0)):
        G = m.xx[g]
        scale = float(np.trace(G)) / len(G)
        if scale <= 0:
            continue
        factor = factored(G, ridge * scale)
        W[g] += cho_solve(factor, m.xt[g] - G @ W0[g].T, check_finite=False).T
    return W


def choose(fit: Moments, test: Moments, W0: Floats, weight: Floats) -> float:
    """Return the ridge whose fit to some images predicts other images best.

    ``weight (g, m)`` is what an error of each output counts.
    """
    errors = [float((test.error(solve(fit, W0, r)) * weight).sum()) for r in RIDGES]
    return RIDGES[int(np.argmin(errors))]
