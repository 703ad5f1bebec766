"""The tasks: each reads an output and a target, and makes of them the pair to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reprune_onnx.analyzer.op_kinds import PROBABILITIES
from reprune_onnx.data.source import Answers
from reprune_onnx.errors import DataError
from reprune_onnx.shapes import Layout
from reprune_onnx.tasks.segmentation import nearest, resized, settled

Pair = tuple[Answers, Answers]


@dataclass(frozen=True)
class Head:
    """An output: its name, the op that made it (past copies), and where channels stand."""

    name: str
    maker: str | None = None
    layout: Layout = "nchw"

    @property
    def threshold(self) -> float:
        """The score from which on a label is given."""
        return 0.5 if self.maker in PROBABILITIES else 0.0


@dataclass(frozen=True)
class TargetReading:
    """The reading of targets, settled once for all of them.

    ``ignore`` is the value of a mask that does not count; ``white``: 255 is class 1 of a mask.
    ``peak`` is the highest value of an image as a target.
    """

    ignore: int | None = None
    white: bool = False
    peak: float = 1.0


def as_given(target: Any, classes: int | None, reading: TargetReading) -> Any:
    """Labels that say themselves what counts."""
    del classes, reading
    return target


# ── classification ──────────────────────────────────────────────────────────────────────────


def is_class_per_image(y: Answers, n: int) -> bool:
    """Whether an output may be (n, classes[, 1, 1]) of two classes or more."""
    return is_label_scores(y, n) and y.shape[1] >= 2


def classes_beside(y: Answers, target: Answers, head: Head, reading: TargetReading) -> Pair:
    """Scores (b, classes) and class numbers (b,)."""
    del head, reading
    return y.reshape(len(y), -1), target


def classes_alike(y: Answers, other: Answers, head: Head, its: Head) -> Pair:
    """Scores (b, classes), and the classes (b,) that another model chooses."""
    del head, its
    return y.reshape(len(y), -1), other.reshape(len(other), -1).argmax(axis=1)


# ── segmentation ────────────────────────────────────────────────────────────────────────────


def is_class_scores(y: Answers, n: int) -> bool:
    """Whether an output may be (n, classes, h, w), (n, h, w, classes) or a class map (n, h, w)."""
    return len(y) == n and y.dtype.kind in "fiu" and y.ndim in (3, 4) and min(y.shape[-2:]) >= 1


def planes(y: Answers, head: Head) -> Answers:
    """An output as (b, c, h, w) scores, or as a class map (b, h, w) of integers."""
    if y.ndim == 3:
        return y if y.dtype.kind in "iu" else y[:, None]
    y = np.moveaxis(y, 3, 1) if head.layout == "nhwc" else y
    return y[:, 0] if y.dtype.kind in "iu" and y.shape[1] == 1 else y


def class_map(y: Answers, head: Head, size: tuple[int, int]) -> Answers:
    """The classes (b, h, w) at ``size``: scores are resized (bilinear), then the highest counts.

    A single channel is class 1 where its score is above the threshold.
    """
    scores = planes(y, head)
    if scores.ndim == 3:
        return nearest(scores, size)
    scores = resized(scores.astype(np.float32), size)
    if scores.shape[1] == 1:
        return (scores[:, 0] > head.threshold).astype(np.int64)
    result: Answers = scores.argmax(axis=1)
    return result


def classes_of(y: Answers, head: Head) -> int | None:
    """The number of classes that an output tells apart; None where it is a class map."""
    scores = planes(y, head)
    return None if scores.ndim == 3 else max(2, scores.shape[1])


def masks_settled(masks: Any, classes: int | None, reading: TargetReading) -> Any:
    """Masks (b, h, w), numpy's or PyTorch's, as integers, `UNKNOWN` where they do not count.

    Raises DataError for a class that the model lacks.
    """
    wanted = settled(masks, reading.ignore, classes, reading.white)
    most = -1 if 0 in wanted.shape else int(wanted.max())
    if classes is not None and most >= classes:
        raise DataError(
            f"a mask holds {most}, but the model has {classes} classes, 0 to {classes - 1}; give"
            f" masks of the model's classes, or --ignore-index {most} where that is no class"
        )
    return wanted


def masks_beside(y: Answers, target: Answers, head: Head, reading: TargetReading) -> Pair:
    """Class maps of an output and of masks (b, h, w), at the masks' size."""
    wanted = masks_settled(target, classes_of(y, head), reading)
    h, w = wanted.shape[1:]
    return class_map(y, head, (h, w)), wanted


def maps_alike(y: Answers, other: Answers, head: Head, its: Head) -> Pair:
    """Class maps of two models, at the size of the other's."""
    theirs = planes(other, its)
    h, w = theirs.shape[-2:]
    return class_map(y, head, (h, w)), class_map(other, its, (h, w))


# ── regression ──────────────────────────────────────────────────────────────────────────────


def is_numbers(y: Answers, n: int) -> bool:
    """Whether an output may be numbers (n, …)."""
    return y.ndim >= 1 and len(y) == n and y.dtype.kind == "f"


def conformed(target: Any, shape: tuple[int, ...]) -> Any:
    """Targets, numpy's or PyTorch's, in the shape of an output.

    Channels are moved first or last, axes of 1 put in or out. Raises DataError where that is not
    enough.
    """
    if target.shape == shape:
        return target
    if target.ndim == len(shape) == 4:
        turned = target.swapaxes(1, 3)
        for moved in (turned.swapaxes(2, 3), turned.swapaxes(1, 2)):
            if moved.shape == shape:
                return moved
    if tuple(n for n in target.shape if n != 1) == tuple(n for n in shape if n != 1):
        return target.reshape(shape)
    raise DataError(
        f"targets of shape {tuple(target.shape[1:])}, but the output is {tuple(shape[1:])}; give"
        " targets of the output's shape"
    )


def numbers_beside(y: Answers, target: Answers, head: Head, reading: TargetReading) -> Pair:
    """An output and the targets in its shape."""
    del head, reading
    return y, conformed(target, y.shape)


def numbers_alike(y: Answers, other: Answers, head: Head, its: Head) -> Pair:
    """The outputs of two models."""
    del head, its
    return y, conformed(other, y.shape)


# ── several labels ──────────────────────────────────────────────────────────────────────────


def is_label_scores(y: Answers, n: int) -> bool:
    """Whether an output may be (n, labels[, 1, 1])."""
    return y.ndim >= 2 and len(y) == n and y.dtype.kind == "f" and y[0].size == y.shape[1]


def logits(y: Answers, head: Head) -> Answers:
    """An output as (b, labels) whose sign decides: of probabilities the logits."""
    flat = y.reshape(len(y), -1).astype(np.float64)
    if not head.threshold:
        return flat
    p = np.clip(flat, 1e-12, 1 - 1e-12)
    result: Answers = np.log(p) - np.log1p(-p)
    return result


def labels_beside(y: Answers, target: Answers, head: Head, reading: TargetReading) -> Pair:
    """Scores (b, labels) and 0, 1 or NaN."""
    del reading
    wanted = target.reshape(len(target), -1)
    if y[0].size != wanted.shape[1]:
        raise DataError(
            f"{wanted.shape[1]} labels per image, but output '{head.name}' has {y[0].size}; give a"
            " column of 0 and 1 for each of the model's labels, in its order"
        )
    return y.reshape(len(y), -1), wanted


def labels_alike(y: Answers, other: Answers, head: Head, its: Head) -> Pair:
    """The logits of two models."""
    ours, theirs = logits(y, head), logits(other, its)
    if ours.shape != theirs.shape:
        raise DataError(
            f"the model has {ours.shape[1]} labels but the original {theirs.shape[1]}; compare"
            " models of the same labels"
        )
    return ours, theirs
