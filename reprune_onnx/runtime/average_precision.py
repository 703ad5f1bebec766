"""Average precision of detections, as COCO defines it, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from reprune_onnx.data.coco import CocoData
from reprune_onnx.errors import DataError
from reprune_onnx.runtime.detector import Detections

Kind = Literal["box", "mask", "keypoints"]
_IOU = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}
_FIELDS = {"box": "bbox", "mask": "segmentation", "keypoints": "keypoints"}
_PERSON = 17  # keypoints of COCO, whose tolerances pycocotools knows


@dataclass(frozen=True)
class AveragePrecision:
    """Percentages: at IoU 0.5 to 0.95, at 0.5, at 0.75, and of small, medium and large objects.

    None where the data has no such object.
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None


def require_pycocotools() -> None:
    """Raise DataError, with what to install, where pycocotools is missing."""
    if find_spec("pycocotools") is None:
        raise DataError("average precision needs pycocotools: pip install 'reprune-onnx[coco]'")


def results(
    image_id: int, detections: Detections, categories: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Detections in COCO's format; ``categories`` maps labels to category ids.

    What has a label without a category is left out.
    """
    from pycocotools import mask as coco_mask

    entries = []
    for k, label in enumerate(detections.labels.tolist()):
        if label not in categories:
            continue
        x1, y1, x2, y2 = detections.boxes[k].tolist()
        entry: dict[str, Any] = {
            "image_id": image_id,
            "category_id": categories[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(detections.scores[k]),
        }
        if detections.masks is not None:
            entry["segmentation"] = coco_mask.encode(
                np.asfortranarray(detections.masks[k], np.uint8)
            )
        if detections.keypoints is not None:
            entry["keypoints"] = detections.keypoints[k].ravel().tolist()
        entries.append(entry)
    return entries


def average_precision(
    data: CocoData, detections: Sequence[dict[str, Any]], kind: Kind
) -> AveragePrecision:
    """The six figures of ``detections`` (as `results` gives them) on all images of ``data``."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        truth = COCO()
        truth.dataset = data.content
        truth.createIndex()
        entries = [
            {k: v for k, v in entry.items() if k == _FIELDS[kind] or k not in _FIELDS.values()}
            for entry in detections
        ]
        if entries:
            answer = truth.loadRes(entries)
        else:
            answer = COCO()
            answer.dataset = {**data.content, "annotations": []}
            answer.createIndex()
        judge = _leaving_difficult()(truth, answer, _IOU[kind])
        if kind == "keypoints":
            _set_tolerances(judge, data)
        try:
            judge.evaluate()
        except MemoryError:
            raise
        except Exception as error:  # of outlines it cannot read pycocotools raises bare Exceptions
            reason = " ".join(str(error).split())
            raise DataError(
                f"pycocotools cannot read the objects of '{data.name}': {reason}"
            ) from error
        judge.accumulate()
        judge.summarize()
    stats = list(judge.stats)
    if kind == "keypoints":  # there are no figures of small objects
        stats.insert(3, -1.0)
    return AveragePrecision(*(100 * float(v) if v >= 0 else None for v in stats[:6]))


def _set_tolerances(judge: Any, data: CocoData) -> None:
    """Give other keypoints than COCO's equal tolerances, 1/k of k, as Ultralytics does."""
    counts = {len(a["keypoints"]) // 3 for a in data.content["annotations"]}
    if len(counts) > 1:
        raise DataError(
            f"'{data.name}' has objects of {min(counts)} and of {max(counts)} keypoints: give data"
            " in which all have as many as the model"
        )
    k = next(iter(counts), _PERSON)
    if k != _PERSON:
        judge.params.kpt_oks_sigmas = np.full(k, 1 / k)


def _leaving_difficult() -> Any:
    """COCO's evaluation, for which objects that are difficult count neither way.

    A crowd counts neither way too, but takes in every detection within it.
    """
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):  # type: ignore[misc]  # pycocotools states no types
        def _prepare(self) -> None:
            super()._prepare()
            for objects in self._gts.values():
                for entry in objects:
                    entry["ignore"] = entry["ignore"] or bool(entry.get("difficult"))

    return Evaluation
