"""The difference of two runs of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.errors import ModelError

Results = Mapping[str, NDArray[Any]]
_LEAST = 1e-3  # of the largest value: what an output deviates from its mean by at least


def difference(name: str, results: Results, expected: Results) -> tuple[float, float]:
    """The largest difference relative to its output's scale, as (difference, scale).

    Raises ModelError for an output of ``name`` that is not there, or of another shape.
    """
    worst = (0.0, 1.0)
    for output, value in expected.items():
        result = results.get(output)
        if result is None or result.shape != value.shape:
            shape = "none" if result is None else result.shape
            raise ModelError(
                f"'{name}': output '{output}' is {shape}, but {value.shape} in a plain run on the"
                " CPU: see what --input-shape says"
            )
        if value.dtype.kind != "f" or not value.size:
            continue
        diff = float(np.abs(result.astype(np.float64) - value).max())
        scale = max(float(np.abs(value).max()), 1e-12)
        if diff / scale > worst[0] / worst[1] or worst == (0.0, 1.0):
            worst = (diff, scale)
    return worst


def spread(results: Results, expected: Results) -> float:
    """The largest √(Σ(b - a)²/Σ(a - ā)²) of outputs b and a: 1 where a mean would be as near."""
    worst = 0.0
    for output, value in expected.items():
        if value.dtype.kind != "f" or not value.size:
            continue
        a, b = value.astype(np.float64), results[output].astype(np.float64)
        far = float(np.sqrt(np.mean((b - a) ** 2)))
        worst = max(worst, far / max(float(a.std()), _LEAST * float(np.abs(a).max()), 1e-12))
    return worst
