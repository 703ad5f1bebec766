"""Whether ONNX Runtime runs a model on inputs of given shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.long_runs import takes_long
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import DRAWS, random_inputs

_MOST = 2**24  # numbers of an input that is run only to see whether it fits


def tried_sizes(
    proto: onnx.ModelProto,
) -> Callable[[Mapping[str, tuple[int, ...]]], bool] | None:
    """A test whether ONNX Runtime runs given shapes; None where it cannot load the model."""
    try:
        session = Session(proto, optimize=False, use="frugal")
    except ModelError:
        return None

    def runs(shapes: Mapping[str, tuple[int, ...]]) -> bool:
        if any(prod(shape) > _MOST for shape in shapes.values()) or takes_long(proto, shapes):
            return False
        for draw in DRAWS:
            try:
                session.run(random_inputs(session.inputs, shapes, np.random.default_rng(0), draw))
            except ModelError:
                continue
            except MemoryError:  # other values take as much
                return False
            return True
        return False

    return runs
