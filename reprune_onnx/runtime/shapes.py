"""``--input-shape``, and the concrete shape of every input of a model."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from reprune_onnx.data.preprocess import IMAGE_SIDE
from reprune_onnx.data.target import image_layout
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.runtime.ort import numpy_type
from reprune_onnx.types import Shape

_VOLUME_SIDE = 32  # 224 in three directions would be 11 million positions per channel
_CHANNELS = 3


@dataclass(frozen=True)
class ImageInput:
    """The one data input of a model; ``shape`` has None for a symbolic extent."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


def parse_input_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read ``--input-shape NAME=1,3,224,224``, given any number of times.

    >>> parse_input_shapes(["input:0=1,3,224,224"])
    {'input:0': (1, 3, 224, 224)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, extents = text.rpartition("=")
        parts = [part.strip() for part in extents.split(",")]
        numeric = all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts)
        if not equals or not name.strip() or not numeric:
            raise UsageError(
                f"--input-shape '{text}' is not NAME=1,3,224,224 (an input's name and its extents, "
                "each at least 1)"
            )
        shape = tuple(int(part) for part in parts)
        if shapes.setdefault(name.strip(), shape) != shape:
            raise UsageError(
                f"--input-shape: '{name.strip()}' is given as {shapes[name.strip()]} and as "
                f"{shape}; give it once"
            )
    return shapes


def data_inputs(proto: onnx.ModelProto) -> dict[str, Shape | None]:
    """Return the inputs that are not initializers and their shapes; ``None`` is an unknown rank."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    constants |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    return {i.name: _stated(i) for i in proto.graph.input if i.name not in constants}


def concrete_shapes(
    proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return a shape without symbols for every input of the model that is not an initializer.

    Static extents stay. Symbolic ones come from ``overrides``, or else are

    * the first: 1;
    * of rank 4: the channels (axis 1, or axis 3 of an NHWC input) 3, the sides 224;
    * of rank 3: 224; of rank 5 and more: channels 3, the sides 32; of rank 2: 1.

    An input whose rank the file does not state is left out unless ``overrides`` has it. UsageError
    where an override names no input, or disagrees with a static extent or the rank.
    """
    inputs = data_inputs(proto)
    _check_names(inputs, overrides)
    shapes = {}
    for name, stated in inputs.items():
        if name in overrides:
            shapes[name] = _agreed(name, stated, overrides[name])
        elif stated is not None:
            shapes[name] = _assumed(stated)
    return shapes


def image_input(proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]) -> ImageInput:
    """Return the one data input of a model, its symbolic extents (None) filled from ``overrides``.

    ModelError where there are several, or where numpy has no type for it. This is what
    ``open_data`` wants to know: ``shape`` and ``dtype``.
    """
    inputs = data_inputs(proto)
    _check_names(inputs, overrides)
    if len(inputs) != 1:
        raise ModelError(
            f"the model has {len(inputs)} data inputs ({', '.join(inputs) or 'none'}), not 1; "
            "images go to models with one input"
        )
    ((name, stated),) = inputs.items()
    value = next(i for i in proto.graph.input if i.name == name)
    dtype = numpy_type(value.type.tensor_type.elem_type)
    if dtype is None:
        raise ModelError(
            f"input '{name}' has a type that numpy does not have; use a float32 copy of the model"
        )
    shape = _agreed(name, stated, overrides[name]) if name in overrides else stated
    return ImageInput(name, shape or (), dtype)


def _check_names(inputs: Mapping[str, Shape | None], overrides: Iterable[str]) -> None:
    for name in overrides:
        if name not in inputs:
            near = difflib.get_close_matches(name, inputs, 1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise UsageError(
                f"--input-shape: the model has no input '{name}'{hint}; "
                f"its inputs are {', '.join(inputs) or 'none'}"
            )


def _stated(value: onnx.ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)


def _agreed(name: str, stated: Shape | None, given: tuple[int, ...]) -> tuple[int, ...]:
    if stated is None:
        return given
    if len(given) != len(stated):
        raise UsageError(
            f"--input-shape: '{name}' has rank {len(stated)}, {_text(stated)}, but {_text(given)} "
            f"has rank {len(given)}; give {len(stated)} extents"
        )
    if any(s not in (None, g) for s, g in zip(stated, given, strict=True)):
        raise UsageError(
            f"--input-shape: '{name}' is {_text(stated)} in the file, which {_text(given)} "
            "contradicts; change only the symbolic extents, shown as ?"
        )
    return given


def _assumed(stated: Shape) -> tuple[int, ...]:
    rank = len(stated)
    side = {2: 1, 3: IMAGE_SIDE, 4: IMAGE_SIDE}.get(rank, _VOLUME_SIDE)
    defaults = [1, *[side] * (rank - 1)]
    if rank >= 5 or (rank == 4 and image_layout(stated) == "nchw"):
        defaults[1] = _CHANNELS
    return tuple(s or d for s, d in zip(stated, defaults, strict=False))


def _text(shape: Shape) -> str:
    return f"({', '.join(str(s or '?') for s in shape)})"
