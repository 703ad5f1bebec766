"""The ways in which images of one kind are usually fed to networks, beside the one that is given.

A network wants its pixels as 0–1, as 0–255, around zero, or less a mean and over a deviation. What
white is in the data, 255 or 1, says which scale gives each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.data.preprocess import PRESETS, Color, Preprocess
from reprune_onnx.data.source import Answers, each_of
from reprune_onnx.data.target import ImageTarget
from reprune_onnx.types import Ints

_BYTE = 255.0
_DARK = 128.0  # a peak below it may be the white of data with fewer values than 256
_FEW = 64.0
_LEAST, _NUMBERS = 4, 8_000_000  # images, and numbers in all of them
_TWICE = 0.01  # a scale below it shrinks floats of 0–1 to nothing


@dataclass(frozen=True)
class _Kind:
    """Values that networks are trained on: white becomes ``white``, then mean and std count."""

    white: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


_PLAIN = (_Kind(1.0), _Kind(_BYTE), _Kind(1.0, (0.5,), (0.5,)))
_MEANS = PRESETS["imagenet-bgr"].mean[::-1]
_KINDS = {
    1: (*_PLAIN, _Kind(1.0, (0.1307,), (0.3081,))),  # MNIST's own
    3: (
        *_PLAIN,
        _Kind(1.0, PRESETS["cifar10"].mean, PRESETS["cifar10"].std),  # ImageNet's
        _Kind(_BYTE, _MEANS),
    ),
}


@dataclass(frozen=True)
class Pixels:
    """Images (n, …), float32 or uint8, in the model's layout and size, not yet scaled.

    ``y (n,)`` are their classes, if all have them. ``preprocess`` is what is given for them.
    """

    x: NDArray[np.float32] | NDArray[np.uint8]
    y: Answers | None
    preprocess: Preprocess
    target: ImageTarget
    eight_bit: bool

    def some(self, n: int) -> Pixels:
        """The images `drawn`."""
        at = drawn(len(self.x), n)
        return replace(self, x=self.x[at], y=None if self.y is None else self.y[at])

    @property
    def channels(self) -> int:
        """The axis of the colours."""
        return 1 if self.target.layout == "nchw" else self.x.ndim - 1

    def fed(self, how: Preprocess) -> NDArray[Any]:
        """The images as ``how`` makes them; only colours and values may differ from the data's."""
        shape = [1] * self.x.ndim
        shape[self.channels] = -1
        x = self.x
        if (how.color == "bgr") != (self.preprocess.color == "bgr"):
            x = np.flip(x, self.channels)
        x = x.astype(np.float32) * np.float32(1.0 if how.scale is None else how.scale)
        if how.mean:
            x = x - np.array(how.mean, np.float32).reshape(shape)
        if how.std:
            x = x / np.array(how.std, np.float32).reshape(shape)
        return np.ascontiguousarray(x.astype(self.target.dtype))


def drawn(total: int, n: int) -> Ints:
    """At most ``n`` of ``range(total)``, always the same; drawn, as labels may come in turns."""
    at: Ints = np.sort(np.random.default_rng(0).permutation(total)[:n])
    return at


def pixels(data: Dataset, n: int) -> Pixels | None:
    """Read up to ``n`` images of ``data``, fewer of large ones, spread over the data.

    None where the model takes no images, or no floating-point values.
    """
    image = data.target
    if not isinstance(image, ImageTarget) or image.dtype.kind != "f":
        return None
    first = next(replace(data, source=data.source.first()).batches(1))[0]
    size = sum(array.size for array in each_of(first))
    some = data.take(max(_LEAST, min(n, _NUMBERS // size))).sound()
    raw = next(some.source.first().batches(1)).x
    how = replace(data.preprocess, scale=1.0, mean=(), std=())
    target = replace(image, dtype=np.dtype(np.float32))
    batches = list(replace(some, preprocess=how, target=target))
    x = np.concatenate([np.asarray(x, np.float32) for x, _ in batches])
    ys = [y for _, y in batches if y is not None and y.ndim == 1]
    y = np.concatenate(ys) if len(ys) == len(batches) else None
    eight_bit = not isinstance(raw, np.ndarray) or raw.dtype == np.uint8
    return Pixels(x, y, data.preprocess, image, eight_bit)


def alternatives(some: Pixels) -> tuple[Preprocess, ...]:
    """The other usual ways for these images, their colours in the order that is given."""
    given = some.preprocess
    return tuple(dict.fromkeys(how for how in _usual(some) if how != given))


def swapped(how: Preprocess, channels: int) -> Preprocess | None:
    """The same with red and blue the other way round; None where there is no other way."""
    if channels != 3 or how.color == "gray":
        return None
    color: Color = "rgb" if how.color == "bgr" else "bgr"
    return replace(how, color=color, mean=how.mean[::-1], std=how.std[::-1])


def misread(some: Pixels) -> Preprocess | None:
    """The preprocessing to correct values scaled twice, or not before a mean of 0–1; else None."""
    how = some.preprocess
    scale = 1.0 if how.scale is None else how.scale
    low, high = float(some.x.min()), float(some.x.max())
    if low < 0 or how.color == "gray" or not high:
        return None
    if not some.eight_bit and high <= 1 and 0 < scale < _TWICE and not _meant_for_255(how):
        return replace(how, scale=1.0)
    unscaled = _DARK < high <= _BYTE and scale >= 0.5
    if unscaled and (how.mean or how.std) and not _meant_for_255(how):
        return replace(how, scale=1 / _BYTE)
    return None


def _meant_for_255(how: Preprocess) -> bool:
    return any(abs(v) > 1 for v in (*how.mean, *how.std))


def _usual(some: Pixels) -> Iterator[Preprocess]:
    given, n = some.preprocess, some.x.shape[some.channels]
    for white in _whites(some):
        for kind in _KINDS.get(n, _PLAIN):
            turned = given.color == "bgr"
            mean, std = (v[::-1] if turned else v for v in (kind.mean, kind.std))
            yield _named(replace(given, scale=kind.white / white, mean=mean, std=std))
    yield replace(given, scale=1.0, mean=(), std=())


def _named(how: Preprocess) -> Preprocess:
    """The preset that this is, where it is one but for colours that stay as they are."""
    if how.color is None and (named := replace(how, color="rgb")) in PRESETS.values():
        return named
    return how


def _whites(some: Pixels) -> tuple[float, ...]:
    """The values that white may have in the data; none where values below 0 show prepared data."""
    low, high = float(some.x.min()), float(some.x.max())
    if low < 0 or high <= 0:
        return ()
    if some.eight_bit:
        return (_BYTE, high) if high < _FEW else (_BYTE,)
    if high <= 1:
        return (1.0,)
    if high <= _BYTE:
        return (_BYTE,) if high > _DARK else (_BYTE, high)
    return (high,)
