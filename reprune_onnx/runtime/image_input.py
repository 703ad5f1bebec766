"""The inputs of a model that data goes to."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from reprune_onnx.data.target import DataInput
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import numpy_type
from reprune_onnx.shapes import stated_shapes


def data_inputs(
    proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]
) -> tuple[DataInput, ...]:
    """Return the data inputs of a model, their symbolic extents (None) filled from ``overrides``.

    ModelError where numpy has no type for one. This is what ``open_inputs`` wants to know.
    """
    values = {i.name: i for i in proto.graph.input}
    inputs = []
    for name, shape in stated_shapes(proto, overrides).items():
        dtype = numpy_type(values[name].type.tensor_type.elem_type)
        if dtype is None:
            raise ModelError(
                f"input '{name}' has a type that numpy does not have; use a float32 copy of the"
                " model"
            )
        inputs.append(DataInput(name, shape or (), dtype))
    return tuple(inputs)


def image_input(proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]) -> DataInput:
    """Return the one data input of a model, see `data_inputs`; ModelError where it has several."""
    inputs = stated_shapes(proto, overrides)
    if len(inputs) != 1:
        raise ModelError(
            f"the model has {len(inputs)} data inputs ({', '.join(inputs) or 'none'}), not 1; "
            "images go to models with one input"
        )
    return data_inputs(proto, overrides)[0]
