"""Resizing, cropping and letterboxing of one image (h, w, c)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reprune_onnx.data.preprocess import Fit
from reprune_onnx.data.source import Raw
from reprune_onnx.errors import DataError

_GRAY, _WHITE = 114.0, 255.0  # of what a letterbox fills, where nothing else is asked for


def resize(image: Raw, size: int | tuple[int, int], nearest: bool = False) -> Raw:
    """Return the image (h, w, c) resized, bilinear with antialiasing, in its own type.

    ``nearest`` takes the nearest pixel instead, as of a mask of integers: no value is made up.

    ``size`` is the new shorter side, or height and width. uint8 stays uint8; floats are resized in
    float32.
    """
    from PIL import Image

    h, w = image.shape[:2]
    if isinstance(size, tuple):
        new_h, new_w = size
    else:
        short = min(h, w)
        new_h, new_w = size * h // short, size * w // short
    if (new_h, new_w) == (h, w):
        return image
    if nearest:
        rows = ((np.arange(new_h) + 0.5) * h / new_h).astype(np.int64)
        columns = ((np.arange(new_w) + 0.5) * w / new_w).astype(np.int64)
        picked: Raw = image[rows][:, columns]
        return picked
    planes = np.moveaxis(image if image.dtype == np.uint8 else image.astype(np.float32), 2, 0)
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(p)).resize(
                (new_w, new_h), Image.Resampling.BILINEAR
            )
        )
        for p in planes
    ]
    return np.stack(resized, axis=2)


def centre_crop(image: Raw, h: int, w: int, name: str) -> Raw:
    """Return the middle (h, w, c) of the image; DataError where the image ``name`` is smaller."""
    have_h, have_w = image.shape[:2]
    if have_h < h or have_w < w:
        raise DataError(
            f"{name} is {have_h}×{have_w}, smaller than the {h}×{w} that the model or crop asks "
            f"for; add size={max(h, w)} to --preprocess, which resizes the shorter side"
        )
    top, left = round((have_h - h) / 2), round((have_w - w) / 2)
    return image[top : top + h, left : left + w]


@dataclass(frozen=True)
class Placement:
    """Where an image lies in one of another size: ``height`` by ``width`` at ``top``, ``left``."""

    height: int
    width: int
    top: int
    left: int


def placement(h: int, w: int, sides: tuple[int, int], fit: Fit) -> Placement:
    """Where an h×w image lies in one of ``sides``.

    ``letterbox`` rounds as Ultralytics does, ``corner`` cuts off as YOLOX does.
    """
    if fit == "stretch":
        return Placement(*sides, 0, 0)
    times = min(sides[0] / h, sides[1] / w)
    if fit == "corner":
        return Placement(max(1, int(h * times)), max(1, int(w * times)), 0, 0)
    height, width = max(1, round(h * times)), max(1, round(w * times))
    top, left = ((side - n) / 2 for side, n in zip(sides, (height, width), strict=True))
    return Placement(height, width, round(top - 0.1), round(left - 0.1))


def placed(image: Raw, sides: tuple[int, int], fit: Fit, fill: float | None) -> Raw:
    """Return the whole image in one of ``sides``, the rest of which is ``fill``.

    By default that is a gray of 114 where white is 255, as it is but for floats of at most 1.
    """
    h, w, channels = image.shape
    at = placement(h, w, sides, fit)
    resized = resize(image, (at.height, at.width))
    if fill is None:
        fractions = image.dtype.kind == "f" and image.max() <= 1
        fill = _GRAY / _WHITE if fractions else _GRAY
    result = np.full((*sides, channels), fill, resized.dtype)
    result[at.top : at.top + at.height, at.left : at.left + at.width] = resized
    return result
