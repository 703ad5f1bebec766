"""By how much the outputs of two models differ on images."""

from __future__ import annotations

import numpy as np

from reprune_onnx.activations.images import Images
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

_BATCHES = 16


def output_error(original: Model, other: Model, images: Images) -> float | None:
    """Return Σ(b - a)²/Σ(a - ā)² of the outputs a and b, the mean over all float outputs.

    ā is an output's mean. 0 is the same output, 1 as far from it as its mean. None where no float
    output varies, or shapes differ from image to image (as after a NonMaxSuppression).
    """
    sessions = [Session(model.proto, optimize=True) for model in (original, other)]
    names = [o.name for o in sessions[0].outputs if o.dtype is not None and o.dtype.kind == "f"]
    sums = {name: np.zeros(4) for name in names}
    for feeds in images.batches[:: max(1, len(images.batches) // _BATCHES)]:
        expected, results = (session.run(feeds, names) for session in sessions)
        for name in names:
            a, b = expected[name].astype(np.float64), results[name].astype(np.float64)
            if a.shape != b.shape:
                sums.pop(name, None)
            elif name in sums:
                sums[name] += a.size, a.sum(), (a**2).sum(), ((a - b) ** 2).sum()
        names = [name for name in names if name in sums]
    variances = {name: s[2] - s[1] ** 2 / max(s[0], 1) for name, s in sums.items()}
    ratios = [float(sums[name][3] / v) for name, v in variances.items() if v > 0]
    return float(np.mean(ratios)) if ratios and np.isfinite(ratios).all() else None
