"""The Cholesky factor of a matrix of second moments."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor

from reprune_onnx.types import Floats

_TRIES = 8


def factor(G: Floats, ridge: float) -> Any:
    """Return scipy's factor of G (n, n) + λ·I, with λ = ``ridge`` · mean diagonal.

    The factor is one for ``scipy.linalg.cho_solve``. Where rounding has left G so far from positive
    definite that the ridge does not do, λ grows tenfold until it does.
    """
    scale = float(np.trace(G)) / len(G) or 1.0
    for power in range(_TRIES):
        try:
            ridged = G + (ridge * 10**power * scale) * np.eye(len(G))
            return cho_factor(ridged, lower=True, check_finite=False)
        except LinAlgError:
            if power == _TRIES - 1:
                raise
    raise AssertionError("the loop returns or raises")
