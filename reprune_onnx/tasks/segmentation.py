"""Class maps: mean intersection over union, and the pixels on which two models agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from reprune_onnx.data.source import Answers
from reprune_onnx.tasks.tally import Scores

UNKNOWN = -1
"""The value of a mask at a pixel that does not count."""


class ConfusionTally:
    """Class maps (b, h, w) against class maps; pixels that are to be `UNKNOWN` do not count.

    The IoU of a class is what both say over what either says; the mean is over the classes that
    either says. ``titles`` names the share of equal pixels, the mean IoU and those of the classes.
    """

    def __init__(self, titles: tuple[str, str, str]) -> None:
        self.titles = titles
        self.counts = np.zeros((0, 0), np.int64)

    def add(self, answers: Answers, wanted: Answers) -> None:
        """Take in a batch."""
        counts = wanted >= 0
        told, right = answers[counts].astype(np.int64), wanted[counts].astype(np.int64)
        classes = max(int(told.max(initial=-1)), int(right.max(initial=-1))) + 1
        table = np.bincount(right * classes + told, minlength=classes**2)
        self._grow(table.reshape(classes, classes) if classes else self.counts)

    def _grow(self, table: Any) -> None:
        size = max(len(self.counts), len(table))
        grown = np.zeros((size, size), np.int64)
        for part in (self.counts, table):
            grown[: len(part), : len(part)] += part
        self.counts = grown

    def merge(self, other: ConfusionTally) -> None:
        """Take in another's counts."""
        self._grow(other.counts)

    def scores(self) -> Scores:
        """Percentages; None for a class that neither says."""
        both = np.diag(self.counts)
        either = self.counts.sum(axis=0) + self.counts.sum(axis=1) - both
        each = [100 * int(b) / int(e) if e else None for b, e in zip(both, either, strict=True)]
        measured = [iou for iou in each if iou is not None]
        total = int(self.counts.sum())
        pixels, mean, of_classes = self.titles
        return {
            mean: float(np.mean(measured)) if measured else None,
            pixels: 100 * int(both.sum()) / total if total else None,
            of_classes: each,
        }


def settled(masks: Any, ignore: int | None, classes: int | None, white: bool = False) -> Any:
    """Masks (b, h, w), numpy's or PyTorch's, as integers in which `UNKNOWN` is what is ignored.

    Ignored are values below 0, and ``ignore``, by default 255 unless there are so many ``classes``.
    ``white``: the masks are black and white pictures, in which 255 is class 1.
    """
    unknown = masks < 0
    if ignore is not None:
        unknown = unknown | (masks == ignore)
    elif not white and (classes is None or classes <= 255):
        unknown = unknown | (masks == 255)
    result = (masks == 255) * 1 if white else masks * 1
    result = result.astype(np.int64) if isinstance(result, np.ndarray) else result.long()
    result[unknown] = UNKNOWN
    return result


def resized(scores: Answers, size: tuple[int, int]) -> Answers:
    """Scores (b, c, h, w) at another size: bilinear between the centres of pixels.

    As ``torch.nn.functional.interpolate(…, mode="bilinear", align_corners=False)``.
    """
    for axis, new in zip((2, 3), size, strict=True):
        old = scores.shape[axis]
        if new == old:
            continue
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(np.int64)
        shape = [1] * scores.ndim
        shape[axis] = new
        share = (at - low).reshape(shape)
        upper = np.take(scores, np.minimum(low + 1, old - 1), axis)
        scores = np.take(scores, low, axis) * (1 - share) + upper * share
    return scores


def nearest(maps: Answers, size: tuple[int, int]) -> Answers:
    """Class maps (b, h, w) at another size, each pixel that of the nearest centre."""
    h, w = maps.shape[1:]
    rows = np.minimum((np.arange(size[0]) + 0.5) * h / size[0], h - 1).astype(np.int64)
    columns = np.minimum((np.arange(size[1]) + 0.5) * w / size[1], w - 1).astype(np.int64)
    return maps[:, rows][:, :, columns]
