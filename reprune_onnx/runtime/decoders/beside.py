"""The parts of raw outputs of YOLO beside boxes and classes: masks by prototypes, and keypoints.

The columns behind the classes are, for each box, the coefficients of its mask, of which there are
as many as prototypes (m, ·, ·) in another output, or its keypoints: x, y and perhaps a score.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from reprune_onnx.data.geometry import Placement
from reprune_onnx.runtime.decoders.candidates import Outputs, Sides, strides_of
from reprune_onnx.types import Bools, Floats

_ANCHORS = 3  # of each cell, in YOLOv5 and YOLOv7
_SURE = 0.5  # score from which on a keypoint is seen


@dataclass(frozen=True)
class Split:
    """``outputs`` without the columns behind the classes; these are ``more (n, m)``.

    ``prototypes (m, ·, ·)`` are there where the columns are coefficients of masks.
    """

    outputs: Outputs
    more: Floats | None = None
    prototypes: Floats | None = None


def keypoint_shape(proto: onnx.ModelProto) -> tuple[int, int] | None:
    """(keypoints, 2 or 3) as Ultralytics writes them into a file's metadata; None without."""
    text = {p.key: p.value for p in proto.metadata_props}.get("kpt_shape", "")
    try:
        shape = ast.literal_eval(text)
        k, columns = (int(n) for n in shape)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return (k, columns) if k > 0 and columns in (2, 3) else None


def split(outputs: Outputs, sides: Sides, keypoints: tuple[int, int] | None) -> Split:
    """Take the columns behind the classes off the only output of boxes, where there are any."""
    flat = [name for name, a in outputs.items() if a.ndim == 2]
    maps = [a for a in outputs.values() if a.ndim == 3]
    m = prod(keypoints) if keypoints else maps[0].shape[0] if len(maps) == 1 else 0
    if not m or len(flat) != 1:
        return Split(outputs)
    array = outputs[flat[0]]
    axis = 0 if any(strides_of(array.shape[1], sides, each) for each in (1, _ANCHORS)) else 1
    if array.shape[axis] <= m + 4:
        return Split(outputs)
    left, more = np.split(array, [array.shape[axis] - m], axis=axis)
    rows = (more.T if axis == 0 else more).astype(np.float64)
    prototypes = None if keypoints else maps[0].astype(np.float64)
    return Split({flat[0]: left}, rows, prototypes)


def prototype_masks(
    coefficients: Floats, prototypes: Floats, boxes: Floats, place: tuple[Placement, Sides, Sides]
) -> Bools:
    """Masks (d, h, w) on the image, as Ultralytics makes them.

    Σ c_k p_k is read (bilinear) at the centres of the image's pixels; a mask is where that is
    positive within the box (d, 4) in pixels of the image, at least x1 and less than x2. ``place``
    is where the image lies in the input, the sides of that, and the size of the image.
    """
    at, sides, size = place
    sums = np.tensordot(coefficients, prototypes, axes=1)
    rows = _places((at.top, at.height), sides[0], (size[0], sums.shape[1]))
    columns = _places((at.left, at.width), sides[1], (size[1], sums.shape[2]))
    masks = np.zeros((len(boxes), *size), np.bool_)
    y, x = np.arange(size[0])[:, None], np.arange(size[1])[None]
    for mask, logits, (x1, y1, x2, y2) in zip(masks, sums, boxes, strict=True):
        inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
        mask[:] = (_read(_read(logits, rows).T, columns).T > 0) & inside
    return masks


def _places(part: tuple[int, int], side: int, extents: tuple[int, int]) -> Floats:
    """Where the n pixels of an image lie in one of m prototypes, of whose side it is a ``part``.

    ``extents`` are n and m. None lies outside of what the image fills.
    """
    (start, length), (n, m) = part, extents
    low, high = start * m / side, (start + length) * m / side - 1
    at = low + (np.arange(n) + 0.5) * length / n * m / side - 0.5
    result: Floats = np.clip(at, low, max(low, high))
    return result


def _read(array: Floats, at: Floats) -> Floats:
    """The rows of an array at fractional places (n,), linear between neighbours."""
    first = np.clip(np.floor(at).astype(np.int64), 0, len(array) - 1)
    share = (at - first)[:, None]
    result: Floats = array[first] * (1 - share)
    return result + array[np.minimum(first + 1, len(array) - 1)] * share


def keypoints_on(more: Floats, shape: tuple[int, int]) -> Floats:
    """Keypoints (d, k, 3) in pixels of the input: x, y, and 2 where one is seen, else 0."""
    points = more.reshape(len(more), *shape)
    sure = points[..., 2] > _SURE if shape[1] > 2 else np.ones(points.shape[:2], np.bool_)
    result: Floats = np.concatenate([points[..., :2], 2.0 * sure[..., None]], axis=2)
    return result
