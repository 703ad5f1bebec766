"""The one data input of a model that takes images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import numpy_type
from reprune_onnx.shapes import stated_shapes
from reprune_onnx.types import Shape


@dataclass(frozen=True)
class ImageInput:
    """The one data input of a model; ``shape`` has None for a symbolic extent."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


def image_input(proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]) -> ImageInput:
    """Return the one data input of a model, its symbolic extents (None) filled from ``overrides``.

    ModelError where there are several, or where numpy has no type for it. This is what
    ``open_data`` wants to know: ``shape`` and ``dtype``.
    """
    inputs = stated_shapes(proto, overrides)
    if len(inputs) != 1:
        raise ModelError(
            f"the model has {len(inputs)} data inputs ({', '.join(inputs) or 'none'}), not 1; "
            "images go to models with one input"
        )
    ((name, shape),) = inputs.items()
    value = next(i for i in proto.graph.input if i.name == name)
    dtype = numpy_type(value.type.tensor_type.elem_type)
    if dtype is None:
        raise ModelError(
            f"input '{name}' has a type that numpy does not have; use a float32 copy of the model"
        )
    return ImageInput(name, shape or (), dtype)
