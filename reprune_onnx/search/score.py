"""The score of a model on images that nothing was fitted to, as its task has it.

A row of `YARDSTICKS` measures all that is usual (``measured``, by the names that `evaluate` has),
and says which of these numbers counts. Points are per cent, of which more is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from reprune_onnx.activations.images import Images
from reprune_onnx.data.dataset import Batch
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.errors import ModelError
from reprune_onnx.results import Attempt, Measured, Recovery
from reprune_onnx.runtime.average_precision import require_pycocotools
from reprune_onnx.runtime.detection_agreement import DetectionTally
from reprune_onnx.runtime.detector import Detector
from reprune_onnx.runtime.evaluate import evaluate
from reprune_onnx.runtime.evaluate_task import task_agreement
from reprune_onnx.settings import Settings
from reprune_onnx.surgeon.requantized import requantized
from reprune_onnx.tasks import TASKS
from reprune_onnx.types import Model

Scores = dict[str, Any]


@dataclass(frozen=True)
class Yardstick:
    """``measured(model, original, held, settings)``; the ``points`` of it, which are of ``title``.

    ``by_labels``: images with labels tell the points without the original.
    """

    measured: Callable[[Model, Model | None, Images, Settings], Scores]
    points: Callable[[Scores], float | None]
    title: str
    by_labels: bool = False


def score(model: Model, original: Model, held: Images, settings: Settings) -> float:
    """The points of a model: accuracy where the images have labels, else agreement, in per cent.

    Raises ModelError where the model is none of ``settings.task``.
    """
    yardstick = YARDSTICKS[settings.task]
    other = None if _labelled(yardstick, held) else original
    points = yardstick.points(yardstick.measured(model, other, held, settings))
    if points is None:
        raise ModelError(
            f"--task {settings.task}: what the model gives on {held.name} cannot be compared; give"
            " images like those that it was trained on"
        )
    return points


def score_of(tried: Attempt, recovery: Recovery, measured: Measured, settings: Settings) -> float:
    """The `score` of an attempt that was recovered, as the file that it would be."""
    subject, held = measured.subject, measured.held_out
    assert held is not None  # `Settings.holds_out`
    as_file = requantized(recovery.model, subject.quantized, tried.cut.cuts)
    return score(as_file.model, subject.model, held, settings)


def title(held: Images, settings: Settings) -> str:
    """The measure whose points are counted."""
    yardstick = YARDSTICKS[settings.task]
    return "accuracy" if _labelled(yardstick, held) else yardstick.title


def measured_on(model: Model, original: Model, held: Images, settings: Settings) -> Scores:
    """All that the task measures of a model on held-out images, beside the original."""
    return YARDSTICKS[settings.task].measured(model, original, held, settings)


def _labelled(yardstick: Yardstick, held: Images) -> bool:
    return yardstick.by_labels and held.labels is not None


def _classified(model: Model, original: Model | None, held: Images, settings: Settings) -> Scores:
    del settings
    labels = held.labels or [None] * len(held.batches)
    batches: list[Batch] = list(zip(held.batches, labels, strict=True))
    return asdict(evaluate(model, batches, against=original))


def _detected(model: Model, original: Model | None, held: Images, settings: Settings) -> Scores:
    assert original is not None  # there are no labels of boxes
    require_pycocotools()
    theirs, ours = (
        Detector(each, Preprocess(), decode=settings.decode) for each in (original, model)
    )
    tally = DetectionTally(held.name)
    for batch in held.batches:
        x = batch[theirs.input]
        for k in range(len(x)):
            one = x[k : k + 1]
            tally.add(theirs.detect_fed(one), ours.detect_fed(one), theirs.sides(one))
    precision = tally.score("box")
    return {"n": held.n, "agreement_AP": precision.AP, "agreement_AP50": precision.AP50}


def _answered(model: Model, original: Model | None, held: Images, settings: Settings) -> Scores:
    assert original is not None  # there are no labels but classes
    scores = task_agreement(model, original, held.batches, TASKS[settings.task])
    return {"n": held.n, **scores}


def _nearness(scores: Scores) -> float | None:
    distance = scores["agreement_relative_error"]
    return None if distance is None else 100 * (1 - float(distance))


YARDSTICKS = {
    "classification": Yardstick(
        _classified,
        lambda s: s["agreement"] if s["top1"] is None else s["top1"],
        "agreement",
        by_labels=True,
    ),
    "detection": Yardstick(_detected, lambda s: s["agreement_AP"], "AP against the original"),
    "semantic-segmentation": Yardstick(
        _answered, lambda s: s["agreement_mean_iou"], "mean IoU with the original"
    ),
    "regression": Yardstick(_answered, _nearness, "nearness to the original"),
    "multi-label": Yardstick(_answered, lambda s: s["agreement"], "agreement"),
}
