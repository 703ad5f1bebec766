"""Average precision of a detector on images in COCO's format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reprune_onnx.data.class_names import ClassNames, model_class_names
from reprune_onnx.data.coco import CocoData
from reprune_onnx.data.images import decode
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.note import Note
from reprune_onnx.runtime.average_precision import (
    AveragePrecision,
    average_precision,
    require_pycocotools,
    results,
)
from reprune_onnx.runtime.categories import Categories, LabelsAre, categories_of
from reprune_onnx.runtime.detector import Detector
from reprune_onnx.types import Model
from reprune_onnx.watch import Steps


@dataclass(frozen=True)
class DetectionEvaluation:
    """Average precision of boxes and of masks over ``n`` images; None where not asked for.

    ``notes`` say what was assumed of the data.
    """

    n: int
    box: AveragePrecision | None
    mask: AveragePrecision | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class DetectionTask:
    """What is measured, and what labels are.

    ``masks`` measures masks too. ``labels``: the category's ``ids``, or the ``order`` of the
    categories by id, from 1; those of raw outputs are the order from 0. ``preprocess`` says how
    pixels become values; images keep their shape unless it has a size or the model's size is fixed.
    ``decode`` names the family of raw outputs that may be of several. ``names`` are the model's
    classes, by default those of its metadata: where the categories of the data are among them, the
    classes of raw outputs are told by name.
    """

    masks: bool = False
    labels: LabelsAre = "ids"
    preprocess: Preprocess = field(default_factory=Preprocess)
    decode: str | None = None
    names: ClassNames | None = None


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
    names = task.names or model_class_names(model.proto)
    categories = Categories({}, data)
    detections: list[dict[str, Any]] = []
    labels: set[int] = set()
    for k, (image_id, file) in enumerate(data.files.items()):
        seen = detector.detect(decode(file, "RGB"), file.name)
        if task.masks and seen.masks is None:
            raise ModelError("the model has no output of masks (d, 1, h, w): use --task detection")
        if not categories.by_label:
            categories = categories_of(data, task.labels, seen.counted, names)
        labels.update(seen.labels.tolist())
        categories.check(labels)
        detections += results(image_id, seen, categories.by_label)
        if progress is not None:
            progress(k + 1, len(data.files))
    categories.check_any(labels)
    mask = average_precision(data, detections, "mask") if task.masks else None
    box = average_precision(data, detections, "box")
    return DetectionEvaluation(len(data.files), box, mask, data.notes)
