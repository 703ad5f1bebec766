"""Non-maximum suppression, class by class, of whatever a decoder gives."""

from __future__ import annotations

import numpy as np

from reprune_onnx.runtime.decoders.candidates import Candidates
from reprune_onnx.types import Floats, Ints

LEAST_SCORE = 0.001
"""Of a detection, as in COCO's evaluation: what is worth little is ranked, not left out."""
MOST_OVERLAP = 0.7
"""Intersection over union with a better box of the class, beyond which one is left out."""
MOST = 300
"""Detections of an image."""
_LOOKED_AT = 5_000  # the best, before suppression


def suppressed(candidates: Candidates) -> tuple[Floats, Ints, Floats, Ints]:
    """Return boxes (d, 4), labels (d,), scores (d,) and rows (d,), the best first; at most 300.

    The rows are those of the candidates.

    Every class whose score is at least 0.001 makes a detection of its own.
    """
    rows, labels = np.nonzero(candidates.scores >= LEAST_SCORE)
    scores = candidates.scores[rows, labels]
    best = np.argsort(-scores, kind="stable")[:_LOOKED_AT]
    rows, labels, scores = rows[best], labels[best], scores[best]
    boxes = candidates.boxes[rows]
    if not candidates.final:
        stay = _greedy(boxes, labels)
        boxes, labels, scores, rows = boxes[stay], labels[stay], scores[stay], rows[stay]
    return boxes[:MOST], labels[:MOST], scores[:MOST], rows[:MOST]


def _greedy(boxes: Floats, labels: Ints) -> Ints:
    """The places of the first 300 boxes (n, 4) that no earlier one of the class overlaps much."""
    if len(boxes):  # classes side by side, so that no box meets one of another
        boxes = boxes + labels[:, None] * (boxes.max() - boxes.min() + 1)
    left = np.arange(len(boxes))
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    chosen: list[int] = []
    while len(left) and len(chosen) < MOST:
        best, left = int(left[0]), left[1:]
        chosen.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[best] + areas[left] - shared
        left = left[shared <= MOST_OVERLAP * union]
    return np.array(chosen, np.int64)
