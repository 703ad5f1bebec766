"""By how much the outputs of models differ on images.

Models are compared by their ends (`analyzer.ends`). A classifier's are its logits: of probabilities
nearly all that counts is an image that was answered surely. A detector's are the boxes and scores
of each level, scores after their Sigmoid: logits far below 0 matter to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from reprune_onnx.activations.images import Images
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.analyzer.ends import compared_ends
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Model

_IMAGES = 64  # at least, where there are so many, in batches that are spread over all


def output_error(original: Model, other: Model, images: Images) -> float | None:
    """Return Σ(b - a)²/Σ(a - ā)² of the ends a and b of the outputs, the mean over float outputs.

    ā is an end's mean; ends of one output count as they make it up. 0 is the same output, 1 as far
    from it as its mean. None where no float output varies, or shapes differ from image to image.
    """
    return output_errors(original, [other], images)[0]


def output_errors(
    original: Model, others: Sequence[Model], images: Images
) -> tuple[float | None, ...]:
    """Return the `output_error` of several models, for which the original runs once.

    One model is loaded at a time.
    """
    batches = images.batches[:: max(1, images.n // _IMAGES)]
    expected = Store(images.room)
    weights = _compared(original, batches[0])
    reference = _session(original, list(weights))
    for b, feeds in enumerate(batches):
        for name, array in reference.run(feeds, list(weights)).items():
            expected.put(name, b, array)
    del reference
    return tuple(
        _error(_sums(other, batches, list(weights), expected), weights) for other in others
    )


def _compared(model: Model, feeds: Arrays) -> dict[str, float]:
    """What each end of the float outputs counts; an output with one that is not finite is its own.

    A logit of -inf is that of a class which never is.
    """
    ends = compared_ends(Graph(model))
    session = _session(model, list(dict.fromkeys((*ends, *chain.from_iterable(ends.values())))))
    floats = {o.name for o in session.outputs if o.dtype is not None and o.dtype.kind == "f"}
    values = session.run(feeds, sorted(floats))
    finite = {name for name, array in values.items() if np.isfinite(array).all()}
    weights: dict[str, float] = {}
    for output in (name for name in ends if name in floats):
        parts = ends[output] if finite.issuperset(ends[output]) else {output: 1.0}
        for name, weight in parts.items():
            weights[name] = weights.get(name, 0.0) + weight
    return weights


def _session(model: Model, outputs: Sequence[str]) -> Session:
    return Session(model.proto, optimize=True, threads=1, outputs=outputs, use="one of many")


def _sums(
    other: Model, batches: Sequence[Arrays], names: Sequence[str], expected: Store
) -> dict[str, Floats]:
    """The n, Σa, Σa² and Σ(a - b)² of each output whose shape is that of the ``expected`` one."""
    session = _session(other, names)
    sums = {name: np.zeros(4) for name in names}
    for k, feeds in enumerate(batches):
        results = session.run(feeds, list(sums))
        for name in list(sums):
            a, b = (y.astype(np.float64) for y in (expected.get(name, k), results[name]))
            if a.shape == b.shape:
                sums[name] += a.size, a.sum(), (a**2).sum(), ((a - b) ** 2).sum()
            else:
                del sums[name]
    return sums


def _error(sums: Mapping[str, Floats], weights: Mapping[str, float]) -> float | None:
    """The mean over ends, from n, Σa, Σa² and Σ(a - b)² of each and what it counts."""
    variances = {name: s[2] - s[1] ** 2 / max(s[0], 1) for name, s in sums.items()}
    ratios = {name: float(sums[name][3] / v) for name, v in variances.items() if v > 0}
    if not ratios or not np.isfinite(list(ratios.values())).all():
        return None
    return float(np.average(list(ratios.values()), weights=[weights[name] for name in ratios]))
