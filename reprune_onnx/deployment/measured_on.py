"""The inputs on which the range of a model's activations is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx

from reprune_onnx.activations.images import Images
from reprune_onnx.deployment.half import MARGIN
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.compare import Arrays
from reprune_onnx.verification.inputs import kinds, runs


def measured_on(
    proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], images: Images | None
) -> Iterator[tuple[Iterable[Arrays], float]]:
    """Yield the images with a margin, then all kinds of random inputs.

    Random inputs may be far larger than what the network takes, so beside images they have to fit
    without a margin; where they are all there is, with it.
    """
    if images is not None:
        yield images.batches, MARGIN
    session = Session(proto, optimize=False)
    drawn: list[Arrays] = []
    for kind in kinds():
        try:
            drawn += [feeds for feeds, _ in runs(proto, session, dict(shapes), kind)]
        except ModelError:
            if not drawn:  # the first kind is what every comparison runs on
                raise
    yield drawn, 1.0 if images is not None else MARGIN
