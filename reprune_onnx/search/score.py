"""The score of a model on images that nothing was fitted to."""

from __future__ import annotations

from reprune_onnx.activations.images import Images
from reprune_onnx.data.dataset import Batch
from reprune_onnx.runtime.evaluate import Evaluation, evaluate
from reprune_onnx.types import Model


def score(model: Model, original: Model, held: Images) -> float:
    """Accuracy where the images have labels, else agreement with the original, in per cent.

    Raises ModelError where the model is no classifier of images.
    """
    evaluation = evaluated(model, None if held.labels else original, held)
    reached = evaluation.top1 if evaluation.top1 is not None else evaluation.agreement
    assert reached is not None  # there are labels, or an original
    return reached


def evaluated(model: Model, original: Model | None, held: Images) -> Evaluation:
    """Evaluate a classifier on images, and against its original where that is given."""
    labels = held.labels or [None] * len(held.batches)
    batches: list[Batch] = list(zip(held.batches, labels, strict=True))
    return evaluate(model, batches, against=original)
