"""Average precision of a detector on images in COCO's format."""

from __future__ import annotations

from collections.abc import Callable
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
    Kind,
    average_precision,
    require_pycocotools,
    results,
)
from reprune_onnx.runtime.categories import Categories, LabelsAre, categories_of
from reprune_onnx.runtime.detector import Detections, Detector
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
    keypoints: AveragePrecision | None = None


@dataclass(frozen=True)
class DetectionTask:
    """The measures of a detector, and the meaning of its labels.

    ``masks`` and ``keypoints`` are measured too, where they are asked for. ``labels``: the
    category's ``ids``, or the ``order`` of the categories by id, from 1; those of raw outputs are
    the order from 0. ``preprocess`` says how pixels become values; images keep their shape unless
    it has a size or the model's size is fixed. ``decode`` names the family of raw outputs that may
    be of several. ``names`` are the model's classes, by default those of its metadata: where the
    categories of the data are among them, the classes of raw outputs are told by name.
    """

    masks: bool = False
    labels: LabelsAre = "ids"
    preprocess: Preprocess = field(default_factory=Preprocess)
    decode: str | None = None
    names: ClassNames | None = None
    keypoints: bool = False

    def check(self, seen: Detections) -> None:
        """Raise ModelError where the model has no masks or keypoints that are to be measured."""
        if self.masks and seen.masks is None:
            raise ModelError(
                "the model has no masks, neither an output (d, 1, h, w) nor YOLO's prototypes"
                " (m, h, w): use --task detection"
            )
        if self.keypoints and seen.keypoints is None:
            raise ModelError(
                "the model has no keypoints that its metadata tells of (kpt_shape, as Ultralytics"
                " writes it): use --task detection"
            )

    def evaluation(
        self, n: int, score: Callable[[Kind], AveragePrecision], notes: tuple[Note, ...]
    ) -> DetectionEvaluation:
        """The models to be measured, each by ``score``."""
        return DetectionEvaluation(
            n,
            score("box"),
            score("mask") if self.masks else None,
            notes,
            score("keypoints") if self.keypoints else None,
        )


def evaluate_detection(
    model: Model, data: CocoData, task: DetectionTask, progress: Steps | None = None
) -> DetectionEvaluation:
    """Detect objects on all images of ``data`` and measure average precision.

    Raises ModelError where the model is no detector (or, with ``task.masks``, has no masks), and
    DataError where labels have no category, or the data has no objects or no outlines.
    """
    require_pycocotools()
    if not data.content["annotations"]:
        raise DataError(
            f"'{data.name}': none of the {len(data.files)} images has an object, so nothing could"
            " be missed: give images with objects, or the original with --against"
        )
    if task.masks and not data.has_masks:
        raise DataError(f"'{data.name}' has objects without a segmentation: use --task detection")
    if task.keypoints and not data.has_keypoints:
        raise DataError(f"'{data.name}' has objects without keypoints: use --task detection")
    detector = Detector(model, task.preprocess, decode=task.decode)
    names = task.names or model_class_names(model.proto)
    categories = Categories({}, data)
    detections: list[dict[str, Any]] = []
    labels: set[int] = set()
    for k, (image_id, file) in enumerate(data.files.items()):
        seen = detector.detect(decode(file, "RGB"), file.name)
        task.check(seen)
        if not categories.by_label:
            categories = categories_of(data, task.labels, seen.counted, names)
        labels.update(seen.labels.tolist())
        categories.check(labels)
        detections += results(image_id, seen, categories.by_label)
        if progress is not None:
            progress(k + 1, len(data.files))
    categories.check_any(labels)
    return task.evaluation(
        len(data.files), lambda kind: average_precision(data, detections, kind), data.notes
    )
