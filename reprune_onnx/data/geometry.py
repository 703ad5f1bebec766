"""Resizing and cropping of one image (h, w, c)."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.source import Raw
from reprune_onnx.errors import DataError


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
