"""Detectors whose outputs hold all boxes in one tensor, or boxes and scores in one each.

n boxes are made of the cells of grids (strides 8, 16, 32, …) or of so many queries. x, y, w, h are
the centre and the extents of a box.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.runtime.decoders.candidates import (
    Candidates,
    Decoder,
    Outputs,
    Sides,
    cells,
    corners,
    one_hot,
    stride_of,
    strides_of,
)
from reprune_onnx.types import Floats

_ANCHORS = 3  # of each cell, in YOLOv5 and YOLOv7
_MOST_QUERIES = 1000
_BOX, _OBJECT = 4, 5  # columns before the classes, without and with an objectness
_FAR = 0.25  # of the longer side: no offset within a cell is as large


def _array(outputs: Outputs, rank: int = 2) -> Floats:
    """The first output of this rank; others hold what masks and keypoints are made of."""
    return next(a for a in outputs.values() if a.ndim == rank).astype(np.float64)


def _size(outputs: Outputs) -> tuple[int, int] | None:
    """The shape (rows, columns) of the only output of two axes, beside which none has fewer."""
    flat = [a.shape for a in outputs.values() if a.ndim <= 2]
    return (flat[0][0], flat[0][1]) if len(flat) == 1 and len(flat[0]) == 2 else None


def _of_queries(size: tuple[int, int], sides: Sides) -> bool:
    """Whether rows are so many queries, and neither rows nor columns the cells of grids."""
    grids = (strides_of(n, sides, each) for n in size for each in (1, _ANCHORS))
    return size[0] <= _MOST_QUERIES and not any(grids)


# ── YOLOv8, 11 and 12: (4 + classes, n) ─────────────────────────────────────────────────────


def _of_yolov8(outputs: Outputs, sides: Sides) -> bool:
    size = _size(outputs)
    return size is not None and size[0] > _BOX and strides_of(size[1], sides) is not None


def _yolov8(outputs: Outputs, sides: Sides) -> Candidates:
    """x, y, w, h in pixels and a score of each class."""
    p = _array(outputs).T
    return Candidates(corners(p[:, :2], p[:, 2:4]), p[:, _BOX:])


# ── YOLOv5 and YOLOv7: (n, 5 + classes), three anchors for each cell ────────────────────────


def _of_yolov5(outputs: Outputs, sides: Sides) -> bool:
    size = _size(outputs)
    return (
        size is not None and size[1] > _OBJECT and strides_of(size[0], sides, _ANCHORS) is not None
    )


def _yolov5(outputs: Outputs, sides: Sides) -> Candidates:
    """x, y, w, h in pixels, an objectness, and a score of each class: their product counts."""
    p = _array(outputs)
    return Candidates(corners(p[:, :2], p[:, 2:4]), p[:, 4:5] * p[:, _OBJECT:])


# ── YOLOX: (n, 5 + classes), one for each cell ──────────────────────────────────────────────


def _of_yolox(outputs: Outputs, sides: Sides) -> bool:
    size = _size(outputs)
    return size is not None and size[1] > _OBJECT and strides_of(size[0], sides) is not None


def _yolox(outputs: Outputs, sides: Sides) -> Candidates:
    """x, y = (p + cell)·stride and w, h = exp(p)·stride, where the file has not done so itself."""
    p = _array(outputs)
    centres, extents = p[:, :2], p[:, 2:4]
    if centres.max() < _FAR * max(sides):
        places, steps = cells(sides, strides_of(len(p), sides) or ())
        centres, extents = (centres + places) * steps, np.exp(extents) * steps
    return Candidates(corners(centres, extents), p[:, 4:5] * p[:, _OBJECT:])


# ── FastestDet: a map (5 + classes, rows, columns), an objectness and probabilities ─────────


def _of_fastestdet(outputs: Outputs, sides: Sides) -> bool:
    maps = list(outputs.values())
    if len(maps) != 1 or maps[0].ndim != 3 or len(maps[0]) <= _OBJECT:
        return False
    objects, classes = maps[0][0], maps[0][_OBJECT:]
    grid = stride_of(objects.size, sides)
    if grid is None or objects.shape != (sides[0] // grid, sides[1] // grid):
        return False
    shares = (objects >= 0).all() and (objects <= 1).all() and (classes >= 0).all()
    return bool(shares and np.allclose(classes.sum(axis=0), 1, atol=1e-3))


def _fastestdet(outputs: Outputs, sides: Sides) -> Candidates:
    """x, y = (tanh(p) + cell)·stride, and w, h = sigmoid(p) as shares of the sides."""
    (array,) = outputs.values()
    stride = sides[0] // array.shape[1]
    places, _ = cells(sides, (stride,))
    p = array.reshape(len(array), -1).T.astype(np.float64)
    extents = np.array([sides[1], sides[0]]) / (1 + np.exp(-p[:, 3:_OBJECT]))
    boxes = corners((np.tanh(p[:, 1:3]) + places) * stride, extents)
    return Candidates(boxes, p[:, :1] * p[:, _OBJECT:])


# ── YOLOv10, 26, and suppression in the file: (n, 6) ────────────────────────────────────────


def _of_end_to_end(outputs: Outputs, sides: Sides) -> bool:
    size = _size(outputs)
    return size is not None and size[1] == 6 and _of_queries(size, sides)


def _end_to_end(outputs: Outputs, sides: Sides) -> Candidates:
    """x1, y1, x2, y2 in pixels, the score, and the number of the class."""
    p = _array(outputs)
    return Candidates(p[:, :4], one_hot(p[:, 5].astype(np.int64), p[:, 4]), final=True)


# ── RT-DETR: (n, 4 + classes) of Ultralytics; DETR: boxes (n, 4) and logits (n, classes) ────


def _of_rtdetr(outputs: Outputs, sides: Sides) -> bool:
    size = _size(outputs)
    return size is not None and size[1] > 6 and _of_queries(size, sides)


def _rtdetr(outputs: Outputs, sides: Sides) -> Candidates:
    """x, y, w, h as shares of the sides, and a score of each class."""
    p = _array(outputs)
    return Candidates(_shares(p[:, :4], sides), p[:, _BOX:], final=True)


def _of_two(outputs: Outputs, sides: Sides) -> bool:
    shapes = [a.shape for a in outputs.values()]
    pair = len(shapes) == 2 and all(len(shape) == 2 for shape in shapes)
    return pair and shapes[0][0] == shapes[1][0] and _BOX in (shapes[0][1], shapes[1][1])


def _of_logits(outputs: Outputs, sides: Sides) -> bool:
    return _of_two(outputs, sides) and not _of_probabilities(outputs, sides)


def _of_probabilities(outputs: Outputs, sides: Sides) -> bool:
    if not _of_two(outputs, sides):
        return False
    scores = _two(outputs)[1]
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def _two(outputs: Outputs) -> tuple[Floats, Floats]:
    """Boxes (n, 4) and scores (n, classes); of two outputs of four columns boxes come last."""
    a, b = (array.astype(np.float64) for array in outputs.values())
    return (b, a) if b.shape[1] == _BOX else (a, b)


def _detr(outputs: Outputs, sides: Sides) -> Candidates:
    """Logits of a softmax, whose last class is none; x, y, w, h as shares of the sides."""
    boxes, logits = _two(outputs)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Candidates(_shares(boxes, sides), (p / p.sum(axis=1, keepdims=True))[:, :-1], final=True)


def _rtdetr_logits(outputs: Outputs, sides: Sides) -> Candidates:
    """Logits of a sigmoid for each class; x, y, w, h as shares of the sides."""
    boxes, logits = _two(outputs)
    return Candidates(_shares(boxes, sides), 1 / (1 + np.exp(-logits)), final=True)


def _ultraface(outputs: Outputs, sides: Sides) -> Candidates:
    """x1, y1, x2, y2 as shares of the sides; of the scores the first is that of no object."""
    boxes, scores = _two(outputs)
    return Candidates(boxes * (np.array(sides * 2)[::-1]), scores[:, 1:])


def _shares(boxes: NDArray[np.float64], sides: Sides) -> Floats:
    """Boxes from x, y, w, h as shares of height and width ``sides``."""
    scale = np.array([sides[1], sides[0]])
    return corners(boxes[:, :2] * scale, boxes[:, 2:] * scale)


FORMS = (
    Decoder("yolov8", _of_yolov8, _yolov8),
    Decoder("yolov5", _of_yolov5, _yolov5),
    Decoder("yolox", _of_yolox, _yolox),
    Decoder("fastestdet", _of_fastestdet, _fastestdet),
    Decoder("end-to-end", _of_end_to_end, _end_to_end),
    Decoder("rt-detr", _of_rtdetr, _rtdetr),
    Decoder("detr", _of_logits, _detr),
    Decoder("rt-detr-logits", _of_logits, _rtdetr_logits),
    Decoder("ultraface", _of_probabilities, _ultraface),
)
