"""The tasks beside detection: one table, read by evaluate and by training.

A row says what labels are, which output may hold the answers, how both are brought together, and
what is measured, with labels and without. The loss of each is in `training.losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reprune_onnx.data.labels import CLASSES, FLAGS, MASKS, NUMBERS, LabelFormat
from reprune_onnx.data.source import Answers
from reprune_onnx.tasks import kinds
from reprune_onnx.tasks.classification import ClassTally
from reprune_onnx.tasks.kinds import Head, Pair, TargetReading
from reprune_onnx.tasks.multi_label import DecisionTally, LabelTally
from reprune_onnx.tasks.regression import ErrorTally
from reprune_onnx.tasks.segmentation import ConfusionTally
from reprune_onnx.tasks.tally import Measure, Tally

__all__ = ["CLASSIFICATION", "KINDS", "TASKS", "TaskKind"]


@dataclass(frozen=True)
class TaskKind:
    """One task.

    ``fits(output, n)``: whether an output may hold the answers for n images. ``beside`` brings an
    output and the labels together for ``tally``; ``alike`` the outputs of two models for
    ``agreement``. ``settle(labels, classes, reading)`` makes what counts plain in labels, numpy's
    or PyTorch's; DataError for what no model of so many classes gives. ``measure`` says which of
    two models is better, ``likeness`` how alike two are, ``said`` what is printed. ``wanted`` is
    what messages ask for as data.
    """

    name: str
    labels: LabelFormat
    wanted: str
    output: str
    fits: Callable[[Answers, int], bool]
    beside: Callable[[Answers, Answers, Head, TargetReading], Pair]
    alike: Callable[[Answers, Answers, Head, Head], Pair]
    settle: Callable[[Any, int | None, TargetReading], Any]
    tally: Callable[[TargetReading], Tally]
    agreement: Callable[[], Tally]
    measure: Measure
    likeness: Measure
    said: tuple[Measure, ...]


_PERCENT = " %"
_DISTANCE = Measure("agreement_relative_error", "relative distance from the original", higher=False)

CLASSIFICATION = TaskKind(
    name="classification",
    labels=CLASSES,
    wanted="class numbers (N,) as y, or a folder whose sub-folders are the classes",
    output="(N, classes) of floating-point scores",
    fits=kinds.is_class_per_image,
    beside=kinds.classes_beside,
    alike=kinds.classes_alike,
    settle=kinds.as_given,
    tally=lambda _: ClassTally(),
    agreement=lambda: ClassTally("agreement", five=None),
    measure=Measure("top1", "", unit=_PERCENT),
    likeness=Measure("agreement", "agreement", unit=_PERCENT),
    said=(Measure("top1", "top-1", unit=_PERCENT), Measure("top5", "top-5", unit=_PERCENT)),
)
"""The task of a classifier, for training; `runtime.evaluate` has its own report of them."""

_TABLE = [
    TaskKind(
        name="semantic-segmentation",
        labels=MASKS,
        wanted="masks of class numbers (N, H, W) as y, or a folder with images/ and masks/",
        output="(N, classes, H, W), or a class map (N, H, W) of integers",
        fits=kinds.is_class_scores,
        beside=kinds.masks_beside,
        alike=kinds.maps_alike,
        settle=kinds.masks_settled,
        tally=lambda _: ConfusionTally(("pixel_accuracy", "mean_iou", "iou")),
        agreement=lambda: ConfusionTally(("agreement", "agreement_mean_iou", "agreement_iou")),
        measure=Measure("mean_iou", "mean IoU", unit=_PERCENT),
        likeness=Measure("agreement_mean_iou", "mean IoU with the original", unit=_PERCENT),
        said=(
            Measure("mean_iou", "mean IoU", unit=_PERCENT),
            Measure("pixel_accuracy", "pixels", unit=_PERCENT),
            Measure("agreement_mean_iou", "mean IoU with the original", unit=_PERCENT),
            Measure("agreement", "pixels as the original", unit=_PERCENT),
        ),
    ),
    TaskKind(
        name="regression",
        labels=NUMBERS,
        wanted="numbers (N, …) as y, or a folder with a .csv or .json of them",
        output="floating-point numbers (N, …)",
        fits=kinds.is_numbers,
        beside=kinds.numbers_beside,
        alike=kinds.numbers_alike,
        settle=kinds.as_given,
        tally=lambda reading: ErrorTally(peak=reading.peak),
        agreement=lambda: ErrorTally("agreement_"),
        measure=Measure("rmse", "RMSE", higher=False),
        likeness=_DISTANCE,
        said=(
            Measure("rmse", "RMSE", higher=False),
            Measure("mae", "MAE", higher=False),
            Measure("relative_error", "relative error", higher=False),
            Measure("r2", "R²"),
            Measure("psnr", "PSNR", unit=" dB"),
            _DISTANCE,
            Measure("agreement_psnr", "PSNR against the original", unit=" dB"),
        ),
    ),
    TaskKind(
        name="multi-label",
        labels=FLAGS,
        wanted="0 and 1 (N, labels) as y, or a folder with a .csv or .json of them",
        output="(N, labels) of floating-point scores",
        fits=kinds.is_label_scores,
        beside=kinds.labels_beside,
        alike=kinds.labels_alike,
        settle=kinds.as_given,
        tally=lambda _: LabelTally(),
        agreement=DecisionTally,
        measure=Measure("mean_ap", "mean AP", unit=_PERCENT),
        likeness=Measure("agreement", "labels as the original", unit=_PERCENT),
        said=(
            Measure("mean_ap", "mean AP", unit=_PERCENT),
            Measure("agreement", "labels as the original", unit=_PERCENT),
            Measure("agreement_difference", "mean difference of probabilities", higher=False),
        ),
    ),
]

TASKS = {kind.name: kind for kind in _TABLE}
KINDS = {kind.name: kind for kind in (CLASSIFICATION, *_TABLE)}
"""All tasks that are trained; ``TASKS`` are those that `runtime.evaluate_task` measures."""
