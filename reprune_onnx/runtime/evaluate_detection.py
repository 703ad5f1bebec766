"""Average precision of a detector on images in COCO's format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from reprune_onnx.data.coco import CocoData
from reprune_onnx.data.images import decode
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.runtime.average_precision import (
    AveragePrecision,
    average_precision,
    require_pycocotools,
    results,
)
from reprune_onnx.runtime.detector import Detector
from reprune_onnx.types import Model
from reprune_onnx.watch import Steps

LabelsAre = Literal["ids", "order"]
_OTHER: dict[LabelsAre, LabelsAre] = {"ids": "order", "order": "ids"}


@dataclass(frozen=True)
class DetectionEvaluation:
    """Average precision of boxes and of masks over ``n`` images; None where not asked for."""

    n: int
    box: AveragePrecision | None
    mask: AveragePrecision | None = None


@dataclass(frozen=True)
class DetectionTask:
    """What is measured, and what labels are.

    ``masks`` measures masks too. ``labels``: the category's ``ids``, or the ``order`` of the
    categories by id, from 1; those of raw outputs are the order from 0. ``preprocess`` says how
    pixels become values; images keep their shape unless it has a size or the model's size is fixed.
    ``decode`` names the family of raw outputs that may be of several.
    """

    masks: bool = False
    labels: LabelsAre = "ids"
    preprocess: Preprocess = field(default_factory=Preprocess)
    decode: str | None = None


def evaluate_detection(
    model: Model, data: CocoData, task: DetectionTask, progress: Steps | None = None
) -> DetectionEvaluation:
    """Detect objects on all images of ``data`` and measure average precision.

    Raises ModelError where the model is no detector (or, with ``task.masks``, has no masks), and
    DataError where labels have no category, or the data has no outlines.
    """
    require_pycocotools()
    if task.masks and not data.has_masks:
        raise DataError(f"'{data.name}' has objects without a segmentation: use --task detection")
    detector = Detector(model, task.preprocess, decode=task.decode)
    categories: dict[int, int] = {}
    detections: list[dict[str, Any]] = []
    labels: set[int] = set()
    other: LabelsAre | None = None
    for k, (image_id, file) in enumerate(data.files.items()):
        seen = detector.detect(decode(file, "RGB"), file.name)
        if task.masks and seen.masks is None:
            raise ModelError("the model has no output of masks (d, 1, h, w): use --task detection")
        categories = _numbered(data.categories, task.labels, seen.counted)
        labels.update(seen.labels.tolist())
        other = _OTHER[task.labels] if not seen.counted else None
        _check_labels(labels, categories, data, other)
        detections += results(image_id, seen, categories)
        if progress is not None:
            progress(k + 1, len(data.files))
    if labels and not labels & categories.keys():
        raise _foreign(min(labels), categories, data, other)
    mask = average_precision(data, detections, "mask") if task.masks else None
    return DetectionEvaluation(len(data.files), average_precision(data, detections, "box"), mask)


def _numbered(ids: list[int], labels: LabelsAre, counted: bool) -> dict[int, int]:
    """The categories by what labels are."""
    order = range(0 if counted else 1, len(ids) + (0 if counted else 1))
    return dict(zip(ids if labels == "ids" and not counted else order, ids, strict=True))


def _check_labels(
    labels: set[int], categories: dict[int, int], data: CocoData, other: LabelsAre | None
) -> None:
    """Refuse labels outside of the categories' numbers; COCO itself leaves gaps between ids."""
    if not categories:
        raise DataError(
            f"'{data.name}' lists no categories: give annotations with the model's classes"
        )
    low, high = min(categories), max(categories)
    wrong = [label for label in labels if not low <= label <= high]
    if wrong:
        raise _foreign(wrong[0], categories, data, other)


def _foreign(
    label: int, categories: dict[int, int], data: CocoData, other: LabelsAre | None
) -> DataError:
    """``other`` is what labels may be instead, if anything."""
    instead = "" if other is None else f", or --labels {other}"
    return DataError(
        f"the model gives label {label}, but '{data.name}' has {len(categories)} categories"
        f" numbered {min(categories)} to {max(categories)}: give the annotations that it was"
        f" trained for{instead}"
    )
