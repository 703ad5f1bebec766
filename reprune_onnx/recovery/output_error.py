"""By how much the outputs of models differ on images.

Before a last Softmax the logits are compared: of probabilities nearly all that counts is an image
that was answered surely. After a Sigmoid it is the scores, as logits far below 0 matter to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reprune_onnx.activations.images import Images
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.squash import SOFTMAXES, before_squash
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Model

_IMAGES = 64  # at least, where there are so many, in batches that are spread over all


def output_error(original: Model, other: Model, images: Images) -> float | None:
    """Return Σ(b - a)²/Σ(a - ā)² of the outputs or logits a and b, the mean over all float outputs.

    ā is an output's mean. 0 is the same output, 1 as far from it as its mean. None where no float
    output varies, or shapes differ from image to image (as after a NonMaxSuppression).
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
    names = _compared(original, batches[0])
    reference = _session(original, names)
    for b, feeds in enumerate(batches):
        for name, array in reference.run(feeds, names).items():
            expected.put(name, b, array)
    del reference
    return tuple(_error(_sums(other, batches, names, expected)) for other in others)


def _compared(model: Model, feeds: Arrays) -> list[str]:
    """The float outputs, or the logits that a Softmax makes them of, if these are finite."""
    graph = Graph(model)
    outputs = [o.name for o in model.proto.graph.output]
    logits = {name: before_squash(graph, name, SOFTMAXES) for name in outputs}
    session = _session(model, list(dict.fromkeys((*outputs, *logits.values()))))
    floats = {o.name for o in session.outputs if o.dtype is not None and o.dtype.kind == "f"}
    values = session.run(feeds, sorted(floats))
    finite = {name for name, array in values.items() if np.isfinite(array).all()}
    names = [logits[name] if logits[name] in finite else name for name in outputs]
    return [name for name in dict.fromkeys(names) if name in floats]


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


def _error(sums: Mapping[str, Floats]) -> float | None:
    """The mean over outputs, from n, Σa, Σa² and Σ(a - b)² of each."""
    variances = {name: s[2] - s[1] ** 2 / max(s[0], 1) for name, s in sums.items()}
    ratios = [float(sums[name][3] / v) for name, v in variances.items() if v > 0]
    return float(np.mean(ratios)) if ratios and np.isfinite(ratios).all() else None
