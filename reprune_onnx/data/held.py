"""Data in memory as a source: arrays, or what yields images and batches, gathered into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reprune_onnx.data.labels import CLASSES, LabelFormat
from reprune_onnx.data.loader import LoaderSource
from reprune_onnx.data.named_arrays import (
    Header,
    LazyLabels,
    NamedArrays,
    as_source,
    open_arrays,
)
from reprune_onnx.data.source import Answers, Feed, Raw, Source, Split, each_of, of_each, rows
from reprune_onnx.data.target import IMAGE_RANK, ArrayTarget, DataInput, ImageTarget
from reprune_onnx.errors import DataError
from reprune_onnx.in_memory import InMemory

_LABELS = ("labels", "label", "y")  # the names under which dicts have them

Pair = tuple[Feed, "Answers | None"]


def open_held(
    data: InMemory, split: Split, target: ImageTarget | ArrayTarget, labels: LabelFormat = CLASSES
) -> Source:
    """Open data in memory; of what yields samples only as many are drawn as are wanted.

    Samples of one size are one array; a dict of arrays is read as a ``.npz``, see ``open_arrays``.
    Raises DataError for what does not go into the model.
    """
    if isinstance(data.given, Mapping):
        arrays = {str(k): _array(v, f"{data.name}['{k}']") for k, v in data.given.items()}
        inputs = {i.name for i in _inputs(target)}
        label = next((name for name in _LABELS if name in arrays and name not in inputs), "")
        headers = {name: Header(array.shape, array.dtype) for name, array in arrays.items()}
        named = NamedArrays(data.name, headers, arrays.__getitem__)
        return open_arrays(named, f",{label}", split, target, labels)
    batches = list(batches_of(data, target))
    if not batches:
        raise DataError(f"{data.name} holds no images; give at least one")
    shapes = {tuple(array.shape[1:] for array in each_of(x)) for x, _ in batches}
    if len(shapes) > 1 or len({y is None for _, y in batches}) > 1:
        return LoaderSource(data.name, lambda: batches, read=labels)
    each = zip(*(each_of(x) for x, _ in batches), strict=True)
    names = [i.name for i in _inputs(target)]
    called = [data.name if len(names) == 1 else f"{data.name}['{name}']" for name in names]
    read = dict(zip(called, (_joined(parts) for parts in each), strict=True))
    y = _joined([y for _, y in batches])
    answers = None if y is None else LazyLabels(f"labels of {data.name}", lambda: y)
    return as_source(data.name, read, target, answers, labels)


def batches_of(data: InMemory, target: ImageTarget | ArrayTarget) -> Iterator[Pair]:
    """Samples and labels (b, …) of every item, until there are as many as are wanted.

    An item that lacks the axis of the batch is one sample.
    """
    done = 0
    for k, item in enumerate(data.items()):
        where = data.name if data.complete else f"{data.name}[{k}]"
        x, y = _pair(item, target, where)
        ranks = [array.ndim for array in each_of(x)]
        wanted = _ranks(target)
        if ranks == [rank - 1 for rank in wanted]:
            if not data.complete:
                x = of_each(x, lambda array: array[None])
                y = None if y is None else np.reshape(y, (1, *np.shape(y)))
        elif ranks != wanted:
            raise _no_batch(f"{where}: an array of shape {each_of(x)[0].shape}", target)
        yield x, y
        done += rows(x)
        if data.most is not None and done >= data.most and not data.complete:
            return


def _no_batch(what: str, target: ImageTarget | ArrayTarget) -> DataError:
    if isinstance(target, ImageTarget):
        return DataError(f"{what} is no batch of images, (n, c, h, w) or (n, h, w, c)")
    return DataError(
        f"{what}, but the model takes {target}; give a row for each sample, and dicts of arrays"
        " where there are several inputs"
    )


def _inputs(target: ImageTarget | ArrayTarget) -> tuple[DataInput, ...]:
    if isinstance(target, ArrayTarget):
        return target.inputs
    return (DataInput(target.name, (), target.dtype),)


def _ranks(target: ImageTarget | ArrayTarget) -> list[int]:
    return [len(i.shape) or IMAGE_RANK for i in _inputs(target)]


def _pair(item: Any, target: ImageTarget | ArrayTarget, where: str) -> Pair:
    """The samples and the labels, if there are any, of an item."""
    if isinstance(item, Mapping):
        return _of_mapping(item, [i.name for i in _inputs(target)], where)
    if isinstance(item, (tuple, list)) and len(item) in (1, 2) and not _numbers(item):
        x, y = item[0], item[1] if len(item) == 2 else None
        if isinstance(x, Mapping):
            x, _ = _of_mapping(x, [i.name for i in _inputs(target)], where)
        else:
            x = _array(x, where)
        return x, None if y is None else _array(y, where)
    return _array(item, where), None


def _of_mapping(item: Mapping[Any, Any], names: Sequence[str], where: str) -> Pair:
    """The arrays of the inputs ``names``, and the labels that lie beside them."""
    arrays = {str(k): v for k, v in item.items() if str(k) in names or str(k) not in _LABELS}
    label = next((item[k] for k in _LABELS if k in item and k not in names), None)
    y = None if label is None else _array(label, where)
    if len(names) == 1:
        named = list(names) if names[0] in arrays else list(arrays)
        if len(named) != 1:
            raise DataError(
                f"{where}: none of {', '.join(sorted(arrays)) or 'no arrays'} is the model's input"
                f" '{names[0]}': name the images so"
            )
        return _array(arrays[named[0]], where), y
    if not set(names) <= set(arrays):
        raise DataError(
            f"{where}: the model has {len(names)} inputs ({', '.join(names)}), but an item is"
            f" {sorted(arrays)}: give dicts with an array for each of them, named like it"
        )
    return {name: _array(arrays[name], f"{where}['{name}']") for name in names}, y


def _numbers(item: Sequence[Any]) -> bool:
    """Whether a list is an array itself, of numbers or of lists of them."""
    no_array = not hasattr(item[0], "shape") and not hasattr(item[0], "__array__")
    return no_array and not isinstance(item[0], Mapping)


def _array(value: Any, where: str) -> Raw:
    """An array, a tensor of PyTorch on any device, an image of Pillow or a list, as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise _no_array(value, where, f": {error}") from error
    if array.dtype.kind not in "fiub":
        raise _no_array(value, where)
    return array


def _no_array(value: object, where: str, why: str = "") -> DataError:
    return DataError(
        f"{where}: {type(value).__name__} is no array of numbers{why}; give uint8 or float"
    )


def _joined(parts: Sequence[Any]) -> Any:
    if any(part is None for part in parts):
        return None
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
