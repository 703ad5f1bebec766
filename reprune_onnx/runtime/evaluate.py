"""Accuracy of an image classifier, and its agreement with the model that it was pruned from."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reprune_onnx.activations.opened import batches_for
from reprune_onnx.data.dataset import BATCH_SIZE, Dataset
from reprune_onnx.data.labels import CLASSES, IF_CLASSES
from reprune_onnx.data.source import Answers
from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.model import ModelLike, as_model
from reprune_onnx.runtime.classifier import Classifier, probabilities
from reprune_onnx.taken import DataLike
from reprune_onnx.tasks.classification import ClassTally
from reprune_onnx.types import Floats, Ints
from reprune_onnx.watch import Steps


@dataclass(frozen=True)
class Evaluation:
    """The measures on ``n`` images; None where the data or the model does not allow one.

    ``top1``, ``top5`` and ``agreement`` (the same top-1 as the original) are percentages;
    ``mean_kl`` is KL(original || model) in nats, the mean over the images. ``unused_labels`` says
    why the labels of the data were not used: an error only where there is no original.
    """

    n: int
    top1: float | None
    top5: float | None
    agreement: float | None
    mean_kl: float | None
    unused_labels: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields in JSON's types."""
        return asdict(self)


def evaluate(
    model: ModelLike,
    data: DataLike,
    *,
    against: ModelLike | None = None,
    batch_size: int | None = None,
    threads: int = 0,
    progress: Steps | None = None,
) -> Evaluation:
    """Classify ``data`` with ``model``; with ``against`` compare it with the original as well.

    * ``data`` are a `Dataset`; a path, the text of ``--data`` or an array, which are preprocessed
      for the model; or batches (x, y) that it takes as they are, such as a DataLoader's.
    * The classes are the first floating-point output of shape (N, classes) or (N, classes, 1, 1),
      of two classes or more; logits and probabilities both do. Of equal scores the lower class
      counts as the higher one.
    * For the KL divergence, what a Softmax of the graph makes is taken as probabilities, anything
      else as logits. Probabilities below 1e-12 count as that.
    * ``batch_size`` is about 64 by default. A model with a static batch is run at that one, the
      last batch filled up with copies.
    * ``progress`` is called with the images done and all of them, 0 where that is unknown.

    Raises DataError where the data does not fit the model, has labels out of range, or has no
    labels and ``against`` is not given; ModelError where a model is no classifier, or gives NaN.
    """
    model = as_model(model)
    models = [Classifier(model, "the model", threads)]
    if against is not None:
        models.append(Classifier(as_model(against, "against"), "the original", threads))
    labels = CLASSES if against is None else IF_CLASSES
    data = batches_for(model.proto, data, labels)
    name = data.name if isinstance(data, Dataset) else "the data"
    batch = max(classifier.batch or 1 for classifier in models)
    size = batch_size or max(1, BATCH_SIZE // batch) * batch
    total = (data.size or 0) if isinstance(data, Dataset) else 0

    tally = _Tally(name, data.unused if isinstance(data, Dataset) else None)
    for x, y in data.batches(size) if isinstance(data, Dataset) else data:
        scores = [classifier.scores(x, tally.n) for classifier in models]
        classes = scores[0].shape[1]
        if isinstance(data, Dataset) and len(data.classes or ()) > classes:
            raise DataError(str(data.class_count(classes)))
        tally.add(scores, y, [classifier.normalized for classifier in models])
        if progress is not None:
            progress(tally.n, total)
    if isinstance(data, Dataset) and (problem := data.class_count(tally.classes)) is not None:
        warnings.warn(problem, RuntimeWarning, stacklevel=2)
    return tally.result()


class _Tally:
    """The sums over the batches."""

    def __init__(self, name: str, unused: str | None) -> None:
        self.name, self.unused = name, unused
        self.n = self.classes = 0
        self.labels, self.alike = ClassTally(), ClassTally("agreement", five=None)
        self.kl = 0.0
        self.compared = False

    def add(self, scores: list[Floats], y: Ints | None, normalized: list[bool]) -> None:
        """Count a batch: the model's scores (b, classes), then the original's if there is one."""
        ours = scores[0]
        self.classes = ours.shape[1]
        if y is None and len(scores) == 1:
            raise DataError(
                f"{self.name} has no labels, so there is nothing to compare with: put the images of"
                " each class into a sub-folder, name arrays as in FILE.npz:x,y, or give the"
                " original with --against"
            )
        if y is not None and self._are_classes(y, needed=len(scores) == 1):
            self.labels.add(ours, y)
        if len(scores) == 2:
            original = scores[1]
            if original.shape != ours.shape:
                raise ModelError(
                    f"the model has {ours.shape[1]} classes but the original {original.shape[1]}; "
                    "compare models of the same classes"
                )
            self.compared = True
            self.alike.add(ours, original.argmax(axis=1))
            q, p = (probabilities(s, n) for s, n in zip(scores, normalized, strict=True))
            self.kl += float((p * (np.log(p) - np.log(q))).sum())
        self.n += len(ours)

    def _are_classes(self, y: Answers, needed: bool) -> bool:
        """Whether labels (b,) are classes of the model; DataError where they have to be."""
        if y.max() < self.classes and y.min() >= 0:
            return True
        wrong = y[(y >= self.classes) | (y < 0)][0]
        self.unused = (
            f"{self.name}: label {wrong}, but the model has {self.classes} classes, 0 to "
            f"{self.classes - 1}; give data with the model's classes"
        )
        if needed:
            raise DataError(self.unused)
        return False

    def result(self) -> Evaluation:
        """Return the means."""
        if not self.n:
            raise DataError(f"{self.name} holds no images; give at least one")
        measured = self.labels.scores() if self.labels.n == self.n else {}
        return Evaluation(
            n=self.n,
            top1=measured.get("top1"),
            top5=measured.get("top5"),
            agreement=self.alike.scores()["agreement"],
            mean_kl=self.kl / self.n if self.compared else None,
            unused_labels=self.unused,
        )
