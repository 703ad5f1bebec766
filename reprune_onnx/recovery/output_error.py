"""By how much the outputs of models differ on images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reprune_onnx.activations.images import Images
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Model

_IMAGES = 64  # at least, where there are so many, in batches that are spread over all


def output_error(original: Model, other: Model, images: Images) -> float | None:
    """Return Σ(b - a)²/Σ(a - ā)² of the outputs a and b, the mean over all float outputs.

    ā is an output's mean. 0 is the same output, 1 as far from it as its mean. None where no float
    output varies, or shapes differ from image to image (as after a NonMaxSuppression).
    """
    return output_errors(original, [other], images)[0]


def output_errors(
    original: Model, others: Sequence[Model], images: Images
) -> tuple[float | None, ...]:
    """Return the `output_error` of several models, for which the original runs once."""
    reference, *sessions = (
        Session(model.proto, optimize=True, threads=1, use="one of many")
        for model in (original, *others)
    )
    names = [o.name for o in reference.outputs if o.dtype is not None and o.dtype.kind == "f"]
    sums = [{name: np.zeros(4) for name in names} for _ in others]
    for feeds in images.batches[:: max(1, images.n // _IMAGES)]:
        expected = reference.run(feeds, names)
        for session, totals in zip(sessions, sums, strict=True):
            results = session.run(feeds, list(totals)) if totals else {}
            for name in list(totals):
                a, b = expected[name].astype(np.float64), results[name].astype(np.float64)
                if a.shape == b.shape:
                    totals[name] += a.size, a.sum(), (a**2).sum(), ((a - b) ** 2).sum()
                else:
                    del totals[name]
    return tuple(map(_error, sums))


def _error(sums: Mapping[str, Floats]) -> float | None:
    """The mean over outputs, from n, Σa, Σa² and Σ(a - b)² of each."""
    variances = {name: s[2] - s[1] ** 2 / max(s[0], 1) for name, s in sums.items()}
    ratios = [float(sums[name][3] / v) for name, v in variances.items() if v > 0]
    return float(np.mean(ratios)) if ratios and np.isfinite(ratios).all() else None
