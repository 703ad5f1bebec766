"""Arrays by name, and which of them a model's inputs and labels are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from reprune_onnx import near
from reprune_onnx.data.array_source import ArraySource
from reprune_onnx.data.labels import CLASSES, LabelFormat
from reprune_onnx.data.source import Feed, Raw, Split
from reprune_onnx.data.target import ArrayTarget, ImageTarget
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note

_PREFERRED: dict[Split, tuple[str, ...]] = {"test": ("x", "x_test"), "train": ("x_train", "x")}
_LABELS = "y"


@dataclass(frozen=True)
class Header:
    """The shape and the type of an array, known before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class NamedArrays:
    """Arrays that are read when asked for; ``name`` is what messages call them together.

    One that has no name of its own is called "".
    """

    name: str
    headers: Mapping[str, Header]
    load: Callable[[str], Raw]

    def check(self, name: str) -> None:
        """Raise DataError where there is no array of this name."""
        if name not in self.headers:
            meant = near.hint(name, self.headers)
            raise DataError(f"{self.name}: no array '{name}'{meant}; it has {self.listed()}")

    def read(self, name: str) -> Raw:
        """Return an array; DataError where there is none of this name."""
        self.check(name)
        return self.load(name)

    def listed(self) -> str:
        """All arrays with their shapes and types, for messages."""
        return listed({name: (h.shape, h.dtype) for name, h in self.headers.items()})

    @property
    def short(self) -> str:
        """The file without its folders."""
        return PurePath(self.name).name

    def of(self, name: str) -> str:
        """The name of the array ``name`` in messages."""
        return f"{self.name}:{name}" if name else self.name


def listed(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    """Arrays by name, as messages show them."""
    return ", ".join(f"{name} {shape} {dtype}".strip() for name, (shape, dtype) in arrays.items())


def open_arrays(
    arrays: NamedArrays,
    names: str,
    split: Split,
    target: ImageTarget | ArrayTarget,
    labels: LabelFormat = CLASSES,
) -> ArraySource:
    """Choose what a model reads; ``names`` is ``x_name``, ``x_name,y_name`` or empty.

    * ``x_name,`` leaves labels out; ``,y_name`` names labels alone.
    * A model with one input reads, where no name is given, ``x`` or else ``x_test``, for
      ``split="train"`` ``x_train`` or else ``x``; or else the array called like the input, the one
      that fits it, or the only one.
    * Each of several inputs reads the array of its own name.
    * Without a name the labels of ``x…`` are ``y…``, where there is that; of other arrays ``y``,
      and beside several inputs the one array that is left.
    * An array that lacks nothing but the axis of the batch is one sample.

    Raises DataError, naming inputs and arrays, where that leaves an input without an array.
    """
    x_name, comma, y_name = (part.strip() for part in names.partition(","))
    several = isinstance(target, ArrayTarget) and len(target.inputs) != 1
    if isinstance(target, ArrayTarget) and several:
        inputs = _of_inputs(arrays, x_name, target)
        y_name = y_name or ("" if comma else _beside(arrays, inputs, labels))
        name = arrays.name
    else:
        x_name = x_name or _images(arrays, split, target)
        y_name = y_name or ("" if comma else _labels(arrays, x_name, target))
        inputs, name = (x_name,), arrays.of(x_name)
    read = {n: arrays.read(n) for n in inputs}
    answers = None
    if y_name:
        arrays.check(y_name)
        named = f"{arrays.name}:{'' if several else inputs[0]},{y_name}"
        answers = LazyLabels(named, lambda: arrays.read(y_name))
    source = as_source(name, {arrays.of(n): read[n] for n in inputs}, target, answers, labels)
    if not several:
        return source
    left = _left_over(arrays, {*inputs, y_name})
    return replace(source, notes=tuple(Note(note + left) for note in source.notes))


@dataclass(frozen=True)
class LazyLabels:
    """Labels that are read where they are wanted; ``name`` is what messages call them."""

    name: str
    load: Callable[[], Raw]


def as_source(
    name: str,
    read: Mapping[str, Raw],
    target: ImageTarget | ArrayTarget,
    answers: LazyLabels | None,
    labels: LabelFormat,
) -> ArraySource:
    """Return the arrays ``read``, one for each input in turn, as samples, with their labels.

    Arrays that lack the axis of the batch are one sample. The keys of ``read`` are what messages
    call the arrays. Raises DataError for arrays that are no samples of the inputs.
    """
    alone = target.takes_sample([array.shape for array in read.values()])
    if not alone:
        _check(name, read, target)
    each = [array[None] if alone else array for array in read.values()]
    inputs = target.inputs if isinstance(target, ArrayTarget) else ()
    x: Feed = each[0] if len(each) == 1 else dict(zip((i.name for i in inputs), each, strict=True))
    y = unused = None
    if answers is not None:
        load = answers.load
        y, unused = labels.read(lambda: _answers(load(), alone), len(each[0]), answers.name)
    of_each = dict(zip([i.name for i in inputs] or [""], each, strict=True))
    note = _note(PurePath(name).name, of_each, target, alone)  # reports name no folders
    return ArraySource(name, x, y, np.arange(len(each[0])), unused, notes=(note,))


def _answers(y: Raw, alone: bool) -> Raw:
    """Labels with a row per sample, also those of one sample alone."""
    return y[None] if alone and y.shape[:1] != (1,) else y


def _of_inputs(arrays: NamedArrays, x_name: str, target: ArrayTarget) -> tuple[str, ...]:
    """The names of the inputs, each of which has an array."""
    names = tuple(i.name for i in target.inputs)
    if not names:
        raise DataError("the model has no inputs, so no data goes into it")
    wanted = f"the model has {len(names)} inputs ({target})"
    if x_name:
        raise DataError(
            f"{arrays.of(x_name)} is one array, but {wanted}: give a .npz with an array for each of"
            " them, named like it"
        )
    if tuple(arrays.headers) == ("",):
        raise DataError(
            f"{arrays.name}: one array, but {wanted}: give a .npz with an array for each of them,"
            " named like it"
        )
    missing = [name for name in names if name not in arrays.headers]
    if missing:
        raise DataError(
            f"{arrays.name}: no array '{missing[0]}', but {wanted}; it has {arrays.listed()}: name"
            " each array like its input"
        )
    return names


def _beside(arrays: NamedArrays, inputs: tuple[str, ...], labels: LabelFormat) -> str:
    """The name of the labels beside the arrays of several inputs, empty where there are none."""
    further = [name for name in arrays.headers if name not in inputs]
    if _LABELS in further or len(further) == 1:
        return _LABELS if _LABELS in further else further[0]
    if further and labels.needed:
        raise DataError(
            f"{arrays.name}: {len(further)} arrays beside the inputs may be the labels:"
            f" {', '.join(further)}; name one, as in {arrays.short}:,{further[0]}"
        )
    return ""


def _left_over(arrays: NamedArrays, used: set[str]) -> str:
    others = {n: (h.shape, h.dtype) for n, h in arrays.headers.items() if n not in used}
    return f"; not read: {listed(others)}" if others else ""


def _images(arrays: NamedArrays, split: Split, target: ImageTarget | ArrayTarget) -> str:
    """The name of the array that the one input reads."""
    headers = arrays.headers
    input_name = target.name if isinstance(target, ImageTarget) else target.inputs[0].name
    for name in (*_PREFERRED[split], input_name):
        if name in headers:
            return name
    fitting = _candidates(arrays, target)
    if len(fitting) == 1 or len(headers) == 1:
        return next(iter(fitting or headers))
    if not fitting:
        raise DataError(
            f"{arrays.name}: no array that the model's input {target} takes among"
            f" {arrays.listed()}; save it as x"
        )
    raise DataError(
        f"{arrays.name}: {len(fitting)} arrays may be what the model's input {target} reads:"
        f" {', '.join(fitting)}; name one, as in {arrays.short}:{fitting[0]}"
    )


def _candidates(arrays: NamedArrays, target: ImageTarget | ArrayTarget) -> list[str]:
    """The arrays that fit the one input as samples, or, where none does, as one sample."""
    shapes = {name: h.shape for name, h in arrays.headers.items() if name != _LABELS}
    return [name for name, shape in shapes.items() if target.may_be(shape)] or [
        name for name, shape in shapes.items() if target.takes_sample([shape])
    ]


def _labels(arrays: NamedArrays, x_name: str, target: ImageTarget | ArrayTarget) -> str:
    """The name of the labels of ``x_name``, empty where there are none."""
    same = f"{_LABELS}{x_name[1:]}"
    if x_name.startswith("x") and same in arrays.headers:
        return same
    alone = _candidates(arrays, target) == [x_name]
    return _LABELS if alone and _LABELS in arrays.headers else ""


def _check(name: str, read: Mapping[str, Raw], target: ImageTarget | ArrayTarget) -> None:
    """Raise DataError for arrays that are no samples of the inputs, or not equally many."""
    for called, array in read.items():
        if array.size == 0:
            raise DataError(
                f"{called}: an array of shape {array.shape} holds no samples; give at least one"
            )
    if isinstance(target, ImageTarget):
        for called, array in read.items():
            target.check_rank(array.shape, called)
        return
    for wanted, (called, array) in zip(target.inputs, read.items(), strict=True):
        wanted.check(array.shape, called)
    if len({len(array) for array in read.values()}) > 1:
        pairs = zip(target.inputs, read.values(), strict=True)
        held = listed({wanted.name: (array.shape, array.dtype) for wanted, array in pairs})
        raise DataError(
            f"{name}: the arrays of the inputs have different numbers of rows: {held}; give equally"
            " many"
        )


def _note(
    name: str, each: Mapping[str, Raw], target: ImageTarget | ArrayTarget, alone: bool
) -> Note:
    """A line on the data: the number of samples, and the shape and type of each."""
    n = len(next(iter(each.values())))
    what = "image" if isinstance(target, ImageTarget) else "sample"
    held = {
        "" if len(each) == 1 else f"'{key}'": (array.shape[1:], array.dtype)
        for key, array in each.items()
    }
    note = f"{name}: {n} {what}{'s' if n > 1 else ''} of {listed(held)}"
    return Note(f"{note}, taken as one for the lack of the axis of the batch" if alone else note)
