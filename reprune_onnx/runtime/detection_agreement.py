"""How a detector agrees with the one it was pruned from, on images without labels."""

from __future__ import annotations

from typing import Any

from reprune_onnx.data.coco import CocoData
from reprune_onnx.data.images import ImageSource, decode
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.runtime.average_precision import (
    average_precision,
    require_pycocotools,
    results,
)
from reprune_onnx.runtime.detector import Detections, Detector
from reprune_onnx.runtime.evaluate_detection import DetectionEvaluation, DetectionTask
from reprune_onnx.types import Model
from reprune_onnx.watch import Steps

SURE = 0.25
"""Score of the original's detections from which on they count as objects."""


def evaluate_agreement(
    model: Model,
    original: Model,
    images: ImageSource,
    task: DetectionTask,
    progress: Steps | None = None,
) -> DetectionEvaluation:
    """Measure average precision with what ``original`` detects on ``images`` as the truth.

    Its detections with a score of 0.25 or more are the objects. Raises ModelError where a model is
    no detector, and DataError where the original detects nothing.
    """
    require_pycocotools()
    theirs, ours = (
        Detector(each, task.preprocess, decode=task.decode) for each in (original, model)
    )
    objects: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    shown = []
    labels: set[int] = set()
    for k, file in enumerate(images.files):
        pixels = decode(file, "RGB")
        truth, seen = (detector.detect(pixels, file.name) for detector in (theirs, ours))
        if task.masks and (truth.masks is None or seen.masks is None):
            raise ModelError("the model has no output of masks (d, 1, h, w): use --task detection")
        h, w = pixels.shape[:2]
        shown.append({"id": k, "height": h, "width": w})
        labels.update(truth.labels.tolist(), seen.labels.tolist())
        objects += _entries(k, truth, SURE)
        detections += _entries(k, seen, 0.0)
        if progress is not None:
            progress(k + 1, len(images.files))
    if not objects:
        raise DataError(
            f"{images.name}: the original detects nothing with a score of {SURE} or more; give"
            " images like those that it was trained on, and its --preprocess"
        )
    annotations = [
        {**entry, "id": i + 1, "iscrowd": 0, "area": entry["bbox"][2] * entry["bbox"][3]}
        for i, entry in enumerate(objects)
    ]
    categories = [{"id": label} for label in sorted(labels)]
    content = {"images": shown, "annotations": annotations, "categories": categories}
    data = CocoData(images.name, {}, content)
    mask = average_precision(data, detections, "mask") if task.masks else None
    box = average_precision(data, detections, "box")
    return DetectionEvaluation(len(images.files), box, mask, images.notes)


def _entries(image: int, detections: Detections, least: float) -> list[dict[str, Any]]:
    """Detections of at least this score in COCO's format; categories are the labels."""
    categories = {label: label for label in detections.labels.tolist()}
    return [e for e in results(image, detections, categories) if e["score"] >= least]
