"""The inputs on which models are compared: random, and of two sizes where sizes are symbolic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.verification.compare import Arrays
from reprune_onnx.verification.fed import FedSession


def runs(
    proto: onnx.ModelProto, masked: Session | FedSession, shapes: dict[str, tuple[int, ...]]
) -> Iterator[tuple[Arrays, Arrays]]:
    """(inputs, expected outputs) of every input that the masked original accepts.

    The first must run. A second size need not: not every model with symbolic sizes takes any size.
    """
    for k, sizes in enumerate(_sizes(proto, shapes)):
        feeds = random_inputs(masked.inputs, sizes, np.random.default_rng(k))
        try:
            yield feeds, masked.run(feeds)
        except ModelError:
            if k == 0:
                raise


def _sizes(
    proto: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]
) -> Iterator[dict[str, tuple[int, ...]]]:
    """The analysed size twice, then batch 2 and larger images where the model leaves them open."""
    yield shapes
    yield shapes
    symbolic = {
        i.name: [not d.HasField("dim_value") for d in i.type.tensor_type.shape.dim]
        for i in proto.graph.input
    }
    other = {
        name: tuple(
            n if not free else (n + 1 if axis == 0 else n + 32)
            for axis, (n, free) in enumerate(
                zip(shape, symbolic[name] or [False] * len(shape), strict=True)
            )
        )
        for name, shape in shapes.items()
    }
    if other != shapes:
        yield other
    batch = {name: (other[name][0], *shape[1:]) for name, shape in shapes.items() if shape}
    if batch not in (other, shapes) and batch:
        yield batch | {name: shape for name, shape in shapes.items() if not shape}
