"""A model as an image classifier: batches of images in, scores (b, classes) out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.errors import DataError, ModelError
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.runtime.ort import Port, Session
from reprune_onnx.types import Floats, Model

_COPIES = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


class Classifier:
    """A model and the output that is its classification, found in the first batch.

    ``title`` is what messages call a model that comes from no file. ``batch`` is the static batch
    size, if there is one: the file's, or 1 where the first batch fails and single images do not, as
    with a Reshape to a fixed batch behind a symbolic input. Raises ModelError where the model has
    several data inputs, or no output that may be (N, classes).
    """

    def __init__(self, model: Model, title: str, threads: int) -> None:
        self.title = f"'{model.path}'" if model.path else title
        self._proto = model.proto
        self.session = Session(model.proto, optimize=True, threads=threads)
        self.input = image_input(model.proto, {})
        self.batch = self.input.shape[0] if self.input.shape else None
        self.outputs = [o.name for o in self.session.outputs if _may_be_scores(o)]
        if not self.outputs:
            raise self._no_classifier()
        self.found = False

    @property
    def normalized(self) -> bool:
        """Whether the scores are probabilities: what a Softmax makes, or a copy of that."""
        makers = {o: node for node in self._proto.graph.node for o in node.output}
        node = makers.get(self.outputs[0])
        while node is not None and node.op_type in _COPIES:
            node = makers.get(node.input[0])
        return node is not None and node.op_type == "Softmax"

    def scores(self, x: NDArray[np.generic], done: int) -> Floats:
        """Return the scores (b, classes) of x (b, ·, ·, ·), float64.

        ``done`` images came before: messages count from there. An input of another floating-point
        type than x, as when a float16 model is compared with a float32 one, gets x in its own.
        """
        self._check(x)
        if x.dtype.kind == "f" and self.input.dtype is not None and self.input.dtype.kind == "f":
            with np.errstate(over="ignore"):
                x = x.astype(self.input.dtype, copy=False)
        try:
            scores = self._all(x)
        except ModelError:
            if self.batch is not None or len(x) == 1 or self.found:
                raise
            self.batch = 1
            scores = self._all(x)
        self.found = True
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if len(bad):
            raise ModelError(
                f"{self.title}: output '{self.outputs[0]}' has NaN or infinite values for image "
                f"{done + bad[0]}; check the model's weights and --preprocess"
            )
        return scores

    def _all(self, x: NDArray[np.generic]) -> Floats:
        step = self.batch or len(x)
        fill = -len(x) % step
        filled = np.concatenate([x, np.repeat(x[-1:], fill, axis=0)]) if fill else x
        parts = [self._run(filled[i : i + step]) for i in range(0, len(filled), step)]
        scores: Floats = np.concatenate(parts)[: len(x)]
        return scores

    def _run(self, x: NDArray[np.generic]) -> Floats:
        results = self.session.run({self.input.name: x}, self.outputs)
        for name in self.outputs:
            value = np.asarray(results[name])
            b, classes = value.shape[:2] if value.ndim >= 2 else (0, 0)
            if b == len(x) and classes >= 2 and value.size == b * classes:
                self.outputs = [name]
                return value.reshape(len(x), -1).astype(np.float64)
        raise self._no_classifier()

    def _check(self, x: NDArray[np.generic]) -> None:
        wanted = self.input.shape[1:]
        fits = len(wanted) == x.ndim - 1 and all(
            w in (None, h) for w, h in zip(wanted, x.shape[1:], strict=True)
        )
        if not fits and self.input.shape:
            stated = ", ".join(str(s or "?") for s in self.input.shape)
            raise DataError(
                f"images of shape {x.shape[1:]}, but input '{self.input.name}' of {self.title} is "
                f"({stated}); open the data for this model, or give its size in --preprocess"
            )

    def _no_classifier(self) -> ModelError:
        outputs = ", ".join(
            f"{o.name} ({', '.join(str(s or '?') for s in o.shape)})" for o in self.session.outputs
        )
        return ModelError(
            f"{self.title} has no floating-point output of shape (N, classes), only {outputs}; "
            "classification needs one"
        )


def _may_be_scores(port: Port) -> bool:
    """Whether an output, as far as its stated shape tells, is (N, classes[, 1, 1])."""
    if port.dtype is None or port.dtype.kind != "f":
        return False
    if not port.shape:
        return True
    return len(port.shape) >= 2 and port.shape[1] != 1 and set(port.shape[2:]) <= {None, 1}
