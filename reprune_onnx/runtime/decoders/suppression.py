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
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    areas = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    left = np.arange(len(boxes))
    chosen: list[int] = []
    while len(left) and len(chosen) < MOST:
        best, left = int(left[0]), left[1:]
        chosen.append(best)
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
        height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[shared <= MOST_OVERLAP * (areas[best] + areas[left] - shared)]
    return np.array(chosen, np.int64)
