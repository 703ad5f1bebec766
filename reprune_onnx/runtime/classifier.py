"""A model as an image classifier: batches of images in, scores (b, classes) out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.data.source import Feed, rows
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Port
from reprune_onnx.runtime.predictor import Outputs, Predictor
from reprune_onnx.types import Floats, Model

_TINY = 1e-12  # the least probability that the KL divergence distinguishes from 0


class Classifier(Predictor):
    """A model and the output that is its classification, found in the first batch.

    Raises ModelError where the model has no output that may be (N, classes).
    """

    def __init__(self, model: Model, title: str, threads: int) -> None:
        super().__init__(model, title, threads)
        self._names = [o.name for o in self.session.outputs if _may_be_scores(o)]
        if not self._names:
            raise self._no_classifier()
        self._asked = [o.name for o in self.session.outputs]

    @property
    def output(self) -> str:
        """The output that holds the scores; before the first batch, the first that may."""
        return self._names[0]

    @property
    def normalized(self) -> bool:
        """Whether the scores are probabilities: what a Softmax makes, or a copy of that."""
        return self.maker(self.output) == "Softmax"

    def scores(self, x: Feed, done: int) -> Floats:
        """Return the scores (b, classes) of x (b, …), float64.

        ``done`` images came before: messages count from there.
        """
        n, outputs = rows(x), self.outputs(x, self._asked)
        names = [name for name in self._names if name in outputs and _is_scores(outputs[name], n)]
        name = next((name for name in names if not _of_places(name, outputs)), None)
        if name is None:
            raise self._no_classifier()
        self._names = self._asked = [name]
        scores = outputs[name].reshape(n, -1).astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if len(bad):
            raise ModelError(
                f"{self.title}: output '{name}' has NaN or infinite values for image "
                f"{done + bad[0]}; check the model's weights and --preprocess"
            )
        return scores

    def _no_classifier(self) -> ModelError:
        return ModelError(
            f"{self.title} has no floating-point output of shape (N, classes), only"
            f" {self.listed()}; classification needs one: of other models give the --task"
        )


def _is_scores(y: NDArray[np.generic], n: int) -> bool:
    b, classes = y.shape[:2] if y.ndim >= 2 else (0, 0)
    return bool(b == n and classes >= 2 and y.size == b * classes)


def _of_places(name: str, outputs: Outputs) -> bool:
    """Whether an output (b, n, 1) is of n places, of which another one tells more: a detector's."""
    y = outputs[name]
    return y.ndim > 2 and any(
        other.ndim > 2 and other.shape[:2] == y.shape[:2] and other.size > y.size
        for other in outputs.values()
    )


def _may_be_scores(port: Port) -> bool:
    """Whether an output, as far as its stated shape tells, is (N, classes[, 1, 1])."""
    if port.dtype is None or port.dtype.kind != "f":
        return False
    if not port.shape:
        return True
    return len(port.shape) >= 2 and port.shape[1] != 1 and set(port.shape[2:]) <= {None, 1}


def probabilities(scores: Floats, normalized: bool) -> Floats:
    """Return scores (b, classes) as probabilities, softmax of logits, none below 1e-12.

    >>> probabilities(np.array([[0.0, 0.0]]), normalized=False).tolist()
    [[0.5, 0.5]]
    """
    p = scores if normalized else np.exp(scores - scores.max(axis=1, keepdims=True))
    p = np.maximum(p / p.sum(axis=1, keepdims=True), _TINY)
    result: Floats = p / p.sum(axis=1, keepdims=True)
    return result
