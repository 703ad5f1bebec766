"""``--preprocess``: how raw pixels become the values that a model was trained on.

    value = (raw * scale - mean) / std,   per channel, in the order the model sees the channels

after resizing, cropping and choosing the colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from reprune_onnx import near
from reprune_onnx.errors import UsageError
from reprune_onnx.shapes import Layout

Color = Literal["rgb", "bgr", "gray"]
Fit = Literal["letterbox", "corner", "stretch"]


@dataclass(frozen=True)
class Preprocess:
    """The way from raw images to the model's input. ``str()`` of it can be parsed again.

    ``scale``
        ``None`` chooses: 1/255 for 8-bit data (images, uint8 arrays) fed to a floating-point input,
        unless a mean or std above 1 shows that they are meant for 0–255; 1 for everything else.
    ``mean``, ``std``
        one value, or one per channel in the model's order (so B, G, R with ``color="bgr"``); empty
        for none.
    ``size``
        the shorter side after resizing (bilinear, antialiased), or height and width.
    ``crop``
        height and width of a centre crop; ``"model"`` is the model's own size, 224 where that is
        symbolic. ``None`` crops image files to the model's size and leaves arrays alone.
    ``color``
        ``"bgr"`` reverses RGB data, ``"gray"`` makes one channel. ``None`` and ``"rgb"`` leave
        arrays alone; image files are then decoded as RGB, or, with ``None``, as the model's number
        of channels says (1 is gray, 4 is RGBA).
    ``layout``
        of a data array; ``None`` detects it by the number of channels.
    ``fit``
        how detectors get whole images of the model's size: ``"letterbox"`` keeps the proportions
        and fills what is left on both sides, ``"corner"`` on the right and below, ``"stretch"``
        keeps no proportions. ``size`` is that size where the model leaves it open; no ``crop``.
    ``fill``
        the value, before scaling, of what is filled; ``None`` is a gray of 114, of white 255.

    An array that already has the cropped size is neither resized nor cropped.
    """

    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int | tuple[int, int] | None = None
    crop: tuple[int, int] | Literal["model"] | None = None
    color: Color | None = None
    layout: Layout | None = None
    fit: Fit | None = None
    fill: float | None = None

    def resolve(self, raw: np.dtype[Any], model: np.dtype[Any]) -> Preprocess:
        """Return this with the ``scale`` that data of type ``raw`` gets for an input ``model``."""
        if self.scale is not None:
            return self
        eight_bit = raw == np.uint8 and model.kind == "f"
        meant_for_255 = any(abs(v) > 1 for v in (*self.mean, *self.std))
        return replace(self, scale=1 / 255 if eight_bit and not meant_for_255 else 1.0)

    def __str__(self) -> str:
        for name, preset in PRESETS.items():
            if self == preset:
                return name
        parts = []
        for f in fields(self):
            value = getattr(self, f.name)
            if value not in (None, ()):
                parts.append(f"{f.name}={_text(value)}")
        return ";".join(parts) if self.scale is not None else ";".join(["scale=auto", *parts])


_FINEST = 1e-9  # a scale that is written as a fraction
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PRESETS = {
    "none": Preprocess(scale=1.0),
    "cifar10": Preprocess(scale=1 / 255, mean=_MEAN, std=_STD, color="rgb"),
    "imagenet": Preprocess(
        scale=1 / 255, mean=_MEAN, std=_STD, size=256, crop="model", color="rgb"
    ),
    "imagenet-bgr": Preprocess(
        scale=1.0, mean=(104.0, 117.0, 123.0), size=256, crop="model", color="bgr"
    ),
    "ultralytics": Preprocess(scale=1 / 255, color="rgb", fit="letterbox"),
    "yolox": Preprocess(scale=1.0, color="bgr", fit="corner"),
    "rt-detr": Preprocess(scale=1 / 255, color="rgb", fit="stretch"),
    "nanodet": Preprocess(
        scale=1.0,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        color="bgr",
        fit="stretch",
    ),
    "scrfd": Preprocess(
        scale=1.0, mean=(127.5,), std=(128.0,), color="rgb", fit="corner", fill=0.0
    ),
    "ultraface": Preprocess(scale=1.0, mean=(127.0,), std=(128.0,), color="rgb", fit="stretch"),
}


def parse_preprocess(text: str | None) -> Preprocess:
    """Read ``--preprocess``: a name, ``key=value`` parts, or a name and the parts that differ.

    * ``cifar10``: x/255, then the mean and std of ImageNet;
    * ``imagenet``: shorter side 256, centre crop to the model's size, RGB, x/255, mean and std;
    * ``imagenet-bgr``: the same geometry, BGR, 0–255 minus 104, 117, 123;
    * ``ultralytics`` (YOLOv5 and later), ``yolox``, ``rt-detr``, ``nanodet``, ``scrfd``,
      ``ultraface``: as these detectors are trained, whole images at the model's size;
    * ``none``: values as they are, cast to the model's input type;
    * ``mean=…;std=…;scale=…;size=…;crop=…;color=…;layout=…;fit=…;fill=…`` in any order, see
      ``Preprocess``;
    * ``None``: 8-bit data is scaled to 0–1, floats are taken as they are.

    >>> parse_preprocess("scale=1/16").scale
    0.0625
    >>> parse_preprocess("imagenet;crop=192").crop
    (192, 192)
    >>> str(parse_preprocess("scale=1/255; mean=.5"))
    'scale=1/255;mean=0.5'
    """
    result, seen = Preprocess(), set[str]()
    for i, part in enumerate((text or "").split(";")):
        key, equals, value = (p.strip().lower() for p in part.partition("="))
        if not key and not equals and (text is None or i > 0):
            continue  # nothing given, or a trailing ';'
        if not equals:
            result = _preset(key, first=i == 0)
            continue
        if key not in _READERS:
            raise UsageError(
                f"--preprocess: unknown key '{key}'{near.hint(key, _READERS)}; "
                f"the keys are {', '.join(_READERS)}"
            )
        if key in seen:
            raise UsageError(f"--preprocess: '{key}' is given twice; give it once")
        seen.add(key)
        result = replace(result, **{key: _READERS[key](key, value)})
    if result.fit is not None and result.crop is not None:
        raise UsageError(
            "--preprocess: fit shows whole images and crop cuts them; leave one of them out"
        )
    if result.fill is not None and result.fit not in ("letterbox", "corner"):
        raise UsageError(
            "--preprocess: fill is of what fit=letterbox or fit=corner leaves open; add one of them"
        )
    lengths = {len(v) for v in (result.mean, result.std) if len(v) > 1}
    if len(lengths) > 1:
        raise UsageError(
            f"--preprocess: mean has {len(result.mean)} values but std has {len(result.std)}; "
            "give one value, or one per channel, to both"
        )
    return result


def _preset(name: str, first: bool) -> Preprocess:
    if not first or name not in PRESETS:
        problem = f"is unknown{near.hint(name, PRESETS)}"
        problem = "comes after other parts" if name in PRESETS else problem
        raise UsageError(
            f"--preprocess '{name}' {problem}; give {', '.join(PRESETS)} "
            f"or key=value parts ({', '.join(_READERS)}) separated by ';'"
        )
    return PRESETS[name]


def _bad(key: str, value: str, wanted: str) -> UsageError:
    return UsageError(f"--preprocess: {key}='{value}' must be {wanted}")


def _number(key: str, value: str) -> float:
    wanted = "a finite number or a fraction such as 1/255"
    over, slash, under = value.partition("/")
    try:
        number = float(over) / float(under) if slash else float(over)
    except (ValueError, ZeroDivisionError):
        raise _bad(key, value, wanted) from None
    if not math.isfinite(number):
        raise _bad(key, value, wanted)
    return number


def _numbers(key: str, value: str) -> tuple[float, ...]:
    return tuple(_number(key, v.strip()) for v in value.split(","))


def _scale(key: str, value: str) -> float | None:
    number = None if value == "auto" else _number(key, value)
    if number == 0:
        raise _bad(key, value, "different from 0")
    return number


def _std(key: str, value: str) -> tuple[float, ...]:
    numbers = _numbers(key, value)
    if min(numbers) <= 0:
        raise _bad(key, value, "above 0 in every channel")
    return numbers


def _sides(key: str, value: str) -> tuple[int, ...]:
    parts = [v.strip() for v in value.split(",")]
    if len(parts) > 2 or not all(v.isascii() and v.isdigit() and int(v) > 0 for v in parts):
        raise _bad(key, value, "N or H,W in whole pixels")
    return tuple(int(v) for v in parts)


def _size(key: str, value: str) -> int | tuple[int, int]:
    sides = _sides(key, value)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _crop(key: str, value: str) -> tuple[int, int] | Literal["model"]:
    if value == "model":
        return "model"
    sides = _sides(key, value)
    return sides[0], sides[-1]


def _one_of(*words: str) -> Callable[[str, str], str]:
    def read(key: str, value: str) -> str:
        if value not in words:
            raise _bad(key, value, f"one of {', '.join(words)}")
        return value

    return read


_READERS: dict[str, Callable[[str, str], Any]] = {
    "mean": _numbers,
    "std": _std,
    "scale": _scale,
    "size": _size,
    "crop": _crop,
    "color": _one_of("rgb", "bgr", "gray"),
    "layout": _one_of("nchw", "nhwc"),
    "fit": _one_of("letterbox", "corner", "stretch"),
    "fill": _number,
}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value)
    if isinstance(value, float) and _FINEST < value < 1 and 1 / round(1 / value) == value:
        return f"1/{round(1 / value)}"
    return str(value)
