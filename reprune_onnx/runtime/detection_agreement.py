"""The agreement of a detector with the one it was pruned from, on images without labels."""

from __future__ import annotations

from typing import Any

from reprune_onnx.data.coco import CocoData
from reprune_onnx.data.images import ImageSource, decode
from reprune_onnx.errors import DataError
from reprune_onnx.runtime.average_precision import (
    AveragePrecision,
    Kind,
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
_OF_A_BODY = 0.53  # of its box, as Ultralytics takes it for the tolerance of keypoints


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
    tally = DetectionTally(images.name)
    for k, file in enumerate(images.files):
        pixels = decode(file, "RGB")
        truth, seen = (detector.detect(pixels, file.name) for detector in (theirs, ours))
        for each in (truth, seen):
            task.check(each)
        tally.add(truth, seen, (pixels.shape[0], pixels.shape[1]))
        if progress is not None:
            progress(k + 1, len(images.files))
    return task.evaluation(len(images.files), tally.score, images.notes)


class DetectionTally:
    """Detections of two models on images of ``name``, those of the one as the truth."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._objects: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []
        self._shown: list[dict[str, Any]] = []
        self._labels: set[int] = set()

    def add(self, truth: Detections, seen: Detections, size: tuple[int, int]) -> None:
        """Take in one image of (h, w)."""
        k = len(self._shown)
        self._shown.append({"id": k, "height": size[0], "width": size[1]})
        self._labels.update(truth.labels.tolist(), seen.labels.tolist())
        self._objects += _entries(k, truth, SURE)
        self._detections += _entries(k, seen, 0.0)

    def score(self, kind: Kind) -> AveragePrecision:
        """Average precision; DataError where the one that is the truth detects nothing."""
        if not self._objects:
            raise DataError(
                f"{self._name}: the original detects nothing with a score of {SURE} or more; give"
                " images like those that it was trained on, and its --preprocess"
            )
        share = _OF_A_BODY if kind == "keypoints" else 1.0
        annotations = [
            {
                **entry,
                "id": i + 1,
                "iscrowd": 0,
                "area": share * entry["bbox"][2] * entry["bbox"][3],
                "num_keypoints": sum(v > 0 for v in entry.get("keypoints", ())[2::3]),
            }
            for i, entry in enumerate(self._objects)
        ]
        categories = [{"id": label} for label in sorted(self._labels)]
        content = {"images": self._shown, "annotations": annotations, "categories": categories}
        return average_precision(CocoData(self._name, {}, content), self._detections, kind)


def _entries(image: int, detections: Detections, least: float) -> list[dict[str, Any]]:
    """Detections of at least this score in COCO's format; categories are the labels."""
    categories = {label: label for label in detections.labels.tolist()}
    return [e for e in results(image, detections, categories) if e["score"] >= least]
