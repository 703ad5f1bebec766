"""Inputs and outputs that travel with a model, so that an engine can be checked on its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Port, Session, numpy_type
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.shapes import stated_shapes
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.types import Model
from reprune_onnx.verification.compare import Arrays, difference

ALLOWED = {"fp32": 1e-3, "fp16": 3e-2, "int8": 3e-1}
"""The difference that an engine's outputs may have, relative to an output's scale."""

_IMAGES = 4  # of a model that takes any number of them
_SAME = 1e-4  # of the scale: what an image may differ by in another batch


@dataclass(frozen=True)
class References:
    """``inputs`` of ``images`` images and the ``outputs`` expected, the first axis being images.

    ``dynamic`` says whether the model takes any number of them. An output behind ops that ONNX
    Runtime lacks has no reference.
    """

    inputs: Arrays
    outputs: Arrays
    images: int
    dynamic: bool


def references(
    proto: onnx.ModelProto, input_shapes: Mapping[str, tuple[int, ...]], *, images: Arrays | None
) -> References:
    """Return inputs, of ``images`` or random, and what the model makes of them.

    Raises ModelError for inputs that are not float32, and where the outputs of a batch are not
    those of its images one by one.
    """
    ends = {output.name for output in proto.graph.output}
    stated = {k: v for k, v in stated_shapes(proto, input_shapes).items() if v is not None}
    head = head_of(Model(proto)).proto
    shapes = {name: tuple(n or 1 for n in shape) for name, shape in stated.items()}
    shapes |= fitting_shapes(head, input_shapes).shapes
    session = Session(head, optimize=False)
    ports = [*session.inputs, *_unread(proto, head)]
    for port in ports:
        if port.dtype != np.float32:
            raise ModelError(
                f"input '{port.name}' is of type {port.dtype}; a bundle takes float32 inputs, so"
                " leave the conversion to the program that calls the engine"
            )
    firsts = [shape[0] for shape in stated_shapes(proto, {}).values() if shape]
    fixed = [n for n in firsts if n]
    dynamic = not fixed
    n = _IMAGES if dynamic else int(fixed[0])
    wanted = {name: (n, *shape[1:]) for name, shape in shapes.items()}
    feeds = random_inputs(ports, wanted, np.random.default_rng(0))
    for name, array in (images or {}).items():
        feeds[name] = np.resize(array, (n, *array.shape[1:])).astype(np.float32)
    read = {port.name: feeds[port.name] for port in session.inputs}
    outputs = {name: array for name, array in session.run(read).items() if name in ends}
    if dynamic:
        _independent(session, read, outputs)
    kinds = {name: a.dtype for name, a in outputs.items() if a.dtype.kind not in "fiub"}
    if kinds:
        raise ModelError(f"outputs of type {kinds} cannot be compared on the device")
    return References(feeds, outputs, n, dynamic)


def _unread(proto: onnx.ModelProto, head: onnx.ModelProto) -> list[Port]:
    """The inputs of a model that nothing reads but what stands behind its head."""
    defined = {i.name for i in head.graph.input} | {t.name for t in proto.graph.initializer}
    return [
        Port(i.name, (), numpy_type(i.type.tensor_type.elem_type))
        for i in proto.graph.input
        if i.name not in defined
    ]


def _independent(session: Session, feeds: Arrays, outputs: Arrays) -> None:
    """Raise ModelError unless every output has a row per image that depends on that image alone."""
    n = len(next(iter(feeds.values())))
    first = session.run({name: array[:1] for name, array in feeds.items()})
    for name, rows in outputs.items():
        if not rows.ndim or len(rows) != n:
            why = f"has shape {list(rows.shape)} for {n} images, so no row for each"
        elif difference({name: rows[:1]}, {name: first[name]}, [name]).relative > _SAME:
            why = "has other values for an image where other images are in its batch"
        else:
            continue
        raise ModelError(
            f"output '{name}' {why}: engines of several batch sizes could not be checked; fix the"
            " batch to 1 where the model is exported"
        )
