"""Data in memory as a source: arrays, or what yields images and batches, gathered into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reprune_onnx.data.labels import CLASSES, Labels
from reprune_onnx.data.loader import LoaderSource
from reprune_onnx.data.npz import ArraySource
from reprune_onnx.data.source import Answers, Raw, Source
from reprune_onnx.errors import DataError
from reprune_onnx.in_memory import InMemory

_LABELS = ("labels", "label", "y")  # the names under which dicts have them

Pair = tuple[Raw, "Answers | None"]


def open_held(data: InMemory, labels: Labels = CLASSES) -> Source:
    """Open data in memory; of what yields images only as many are drawn as are wanted.

    Images of one size are one array. Raises DataError for what are no images.
    """
    batches = list(batches_of(data))
    if not batches:
        raise DataError(f"{data.name} holds no images; give at least one")
    if len({x.shape[1:] for x, _ in batches}) > 1 or len({y is None for _, y in batches}) > 1:
        return LoaderSource(data.name, lambda: batches, read=labels)
    x, y = (_joined([batch[side] for batch in batches]) for side in (0, 1))
    assert x is not None
    unused = None
    if y is not None:
        y, unused = labels.read(lambda: y, len(x), f"labels of {data.name}")
    return ArraySource(data.name, x, y, np.arange(len(x)), unused)


def held_arrays(data: InMemory, names: Sequence[str], most: int) -> dict[str, Raw]:
    """The arrays of a model's several inputs, (n, …) each, from a dict or from what yields dicts.

    At most so many images are drawn. Raises DataError where an input has none.
    """
    parts: dict[str, list[Raw]] = {name: [] for name in names}
    done = 0
    for item in data.items():
        if not isinstance(item, Mapping) or not set(names) <= set(item):
            has = sorted(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
            raise DataError(
                f"{data.name}: the model has {len(names)} inputs ({', '.join(names)}), but an item"
                f" is {has}: give dicts with an array for each of them, named like it"
            )
        for name in names:
            parts[name].append(_array(item[name], f"{data.name}['{name}']"))
        done += len(parts[names[0]][-1])
        if done >= most:
            break
    if not done:
        raise DataError(f"{data.name} holds no images; give at least one")
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def batches_of(data: InMemory) -> Iterator[Pair]:
    """Images (b, …) and labels (b,) of every item, until there are as many as are wanted."""
    done = 0
    for k, item in enumerate(data.items()):
        where = data.name if data.whole else f"{data.name}[{k}]"
        x, y = _pair(item, data.port, where)
        if x.ndim == 3 and not data.whole:  # a single image
            x, y = x[None], None if y is None else np.reshape(y, (1, *np.shape(y)))
        if x.ndim != 4:
            raise DataError(
                f"{where}: an array of shape {x.shape} is no batch of images, (n, c, h, w) or"
                " (n, h, w, c)"
            )
        yield x, y
        done += len(x)
        if data.most is not None and done >= data.most and not data.whole:
            return


def _pair(item: Any, port: str, where: str) -> Pair:
    """The images and the labels, if there are any, of an item."""
    if isinstance(item, Mapping):
        arrays = {str(k): v for k, v in item.items() if str(k) not in _LABELS}
        named = [port] if port in arrays else list(arrays)
        if len(named) != 1:
            raise DataError(
                f"{where}: none of {', '.join(sorted(arrays)) or 'no arrays'} is the model's input"
                f" '{port}': name the images so"
            )
        x, y = arrays[named[0]], next((item[k] for k in _LABELS if k in item), None)
    elif isinstance(item, (tuple, list)) and len(item) in (1, 2) and not _numbers(item):
        x, y = item[0], item[1] if len(item) == 2 else None
    else:
        x, y = item, None
    return _array(x, where), None if y is None else _array(y, where)


def _numbers(item: Sequence[Any]) -> bool:
    """Whether a list is an array itself, of numbers or of lists of them."""
    return not hasattr(item[0], "shape") and not hasattr(item[0], "__array__")


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
