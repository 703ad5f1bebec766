"""Detectors with outputs for every level: scores and boxes of the cells of each stride."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reprune_onnx.runtime.decoders.candidates import (
    Candidates,
    Decoder,
    Outputs,
    Sides,
    cells,
    corners,
    stride_of,
)
from reprune_onnx.types import Floats

_PER_CELL = 2  # anchors of SCRFD
_DISTANCES = 4  # left, above, right, below


def _levels(outputs: Outputs, sides: Sides, each: int = 1) -> dict[int, list[str]]:
    """The outputs of each stride, in the model's order; {} where one belongs to no stride."""
    levels: dict[int, list[str]] = {}
    for name, array in outputs.items():
        stride = stride_of(len(array), sides, each) if array.ndim == 2 else None
        if stride is None:
            return {}
        levels.setdefault(stride, []).append(name)
    return dict(sorted(levels.items()))


def _columns(outputs: Outputs, levels: Mapping[int, list[str]]) -> set[tuple[int, ...]]:
    """The columns of the outputs of each level."""
    return {tuple(outputs[name].shape[1] for name in names) for names in levels.values()}


# ── NanoDet: scores (n, classes) and distances (n, 4·bins) ──────────────────────────────────


def _of_nanodet(outputs: Outputs, sides: Sides) -> bool:
    columns = _columns(outputs, _levels(outputs, sides))
    pair = next(iter(columns)) if len(columns) == 1 else ()
    return len(pair) == 2 and pair[1] % _DISTANCES == 0 and pair[1] > _DISTANCES


def _nanodet(outputs: Outputs, sides: Sides) -> Candidates:
    """Each distance from the middle of a cell is the mean of its bins, Σ k·softmax(p)_k·stride."""
    boxes, scores = [], []
    for stride, (score, distance) in _levels(outputs, sides).items():
        places, _ = cells(sides, (stride,))
        bins = outputs[distance].astype(np.float64).reshape(len(places), _DISTANCES, -1)
        p = np.exp(bins - bins.max(axis=2, keepdims=True))
        mean = (p / p.sum(axis=2, keepdims=True)) @ np.arange(p.shape[2])
        boxes.append(_around((places + 0.5) * stride, mean * stride))
        scores.append(outputs[score].astype(np.float64))
    return Candidates(np.concatenate(boxes), np.concatenate(scores))


# ── SCRFD: scores (2·n, 1), distances (2·n, 4), perhaps keypoints ───────────────────────────


def _of_scrfd(outputs: Outputs, sides: Sides) -> bool:
    columns = _columns(outputs, _levels(outputs, sides, _PER_CELL))
    return len(columns) == 1 and next(iter(columns))[:2] == (1, _DISTANCES)


def _scrfd(outputs: Outputs, sides: Sides) -> Candidates:
    """Distances from the corner of a cell, in strides."""
    boxes, scores = [], []
    for stride, (score, distance, *_) in _levels(outputs, sides, _PER_CELL).items():
        places = np.repeat(cells(sides, (stride,))[0], _PER_CELL, axis=0)
        boxes.append(_around(places * stride, outputs[distance].astype(np.float64) * stride))
        scores.append(outputs[score].astype(np.float64))
    return Candidates(np.concatenate(boxes), np.concatenate(scores))


# ── YuNet: scores (n, 1), objectness (n, 1), boxes (n, 4), perhaps keypoints ────────────────


def _of_yunet(outputs: Outputs, sides: Sides) -> bool:
    columns = _columns(outputs, _levels(outputs, sides))
    return len(columns) == 1 and next(iter(columns))[:3] == (1, 1, _DISTANCES)


def _yunet(outputs: Outputs, sides: Sides) -> Candidates:
    """x, y = (p + cell)·stride, w, h = exp(p)·stride, and the score √(class·objectness)."""
    boxes, scores = [], []
    for stride, (of_class, of_object, box, *_) in _levels(outputs, sides).items():
        places, _ = cells(sides, (stride,))
        p = outputs[box].astype(np.float64)
        boxes.append(corners((p[:, :2] + places) * stride, np.exp(p[:, 2:]) * stride))
        product = outputs[of_class].astype(np.float64) * outputs[of_object]
        scores.append(np.sqrt(np.clip(product, 0, 1)))
    return Candidates(np.concatenate(boxes), np.concatenate(scores))


def _around(points: Floats, distances: Floats) -> Floats:
    """Boxes (n, 4) with their sides so far left of, above, right of and below the points."""
    return np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1)


LEVELS = (
    Decoder("nanodet", _of_nanodet, _nanodet),
    Decoder("scrfd", _of_scrfd, _scrfd),
    Decoder("yunet", _of_yunet, _yunet),
)
