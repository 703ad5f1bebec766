"""Ridge regression towards the weights that a layer has, with a ridge chosen on other images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprune_onnx.activations.gram import Gram
from reprune_onnx.activations.moments import Moments
from reprune_onnx.types import Floats, Ints

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Those for a layer before a ReLU or Clip: what errors beyond its bounds do is not judged here."""
MORE_RIDGES = (*RIDGES, 10.0, 100.0)
FOR_ALL = 0.3
"""Of the ridge that is best for a part of the images: what a fit to all of them takes."""
_ROUNDING = 1e-7  # of the targets' energy: what sums of float32 products cannot tell from 0
_OUTPUTS = 128  # of each group, by which a ridge is judged


class Regression:
    """The W (g, m, D) that minimise ‖T - X·Wᵀ‖²/n + λ·‖W - W0‖², for one X and many T.

    λ = ``ridge`` · mean diagonal of G = XᵀX/n, so that W = W0 + (XᵀT - G·W0ᵀ)ᵀ·(G + λ·I)⁻¹.
    Inputs that are zero in all samples keep their weights.
    """

    def __init__(
        self, xx: Sequence[Gram], W0: Floats, ridge: float, start: Floats | None = None
    ) -> None:
        """``xx`` are the moments G of each group; ``start`` is what `start_of` makes of them."""
        self._W0 = W0
        self._start = start_of(xx, W0) if start is None else start
        self._solvers = [G.solver(ridge * G.scale) if G.scale > 0 else None for G in xx]

    def solve(self, xt: Floats) -> Floats:
        """Return W (g, m, D) for the products ``xt (g, D, m)`` of inputs and targets."""
        W = np.array(self._W0)
        for g, solver in enumerate(self._solvers):
            if solver is not None:
                W[g] += solver(xt[g] - self._start[g]).T
        return W


def start_of(xx: Sequence[Gram], W0: Floats) -> Floats:
    """Return G·W0ᵀ (g, D, m): what the weights that a layer has make of its inputs."""
    return np.stack([G.times(w.T) for G, w in zip(xx, W0, strict=True)])


def choose(
    fit: Moments, test: Moments, W0: Floats, weight: Floats, ridges: Sequence[float] = RIDGES
) -> float:
    """Return the one of some ridges whose fit to some images predicts other images best.

    ``weight (g, m)`` is what an error of each output counts. At most 128 outputs of a group are
    looked at, and from the middle one on only ridges in the direction that does better. Where what
    is left of the error is rounding, as of inputs that repeat others, the smaller ridge is exacter.
    """
    some = _evenly(W0.shape[1])
    W0, weight, xt = W0[:, some], weight[:, some], fit.xt[:, :, some]
    start = start_of(fit.xx, W0)

    def error(k: int) -> float:
        W = Regression(fit.xx, W0, ridges[k], start).solve(xt)
        return float((test.error(W, some) * weight).sum())

    rounding = _ROUNDING * float((test.tt[:, some] * weight).sum())
    middle = len(ridges) // 2
    best, least = middle, error(middle)
    for step in (-1, 1):
        limit = rounding if step < 0 else 0.0
        while 0 <= best + step < len(ridges) and (e := error(best + step)) < max(least, limit):
            best, least = best + step, e
        if best != middle:
            break
    return ridges[best]


def _evenly(m: int) -> Ints:
    return np.unique(np.linspace(0, m - 1, min(m, _OUTPUTS)).round().astype(np.int64))
