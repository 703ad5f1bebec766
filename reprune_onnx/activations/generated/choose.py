"""Which of many generated images look to a network most like its own.

A BatchNormalization states the mean μ and variance σ² of what it read in training. Of image i let

    m_i = (mean of y - μ)/σ        q_i = mean of (y - μ)²/σ² - 1          per channel of its input y

over the image. Over all images of the training set the means of both are 0. Images are taken one
by one, each time the one that brings the sums over those taken nearest to 0; all layers count
alike. Of a classifier the probabilities less those of an even spread over its classes count too, so
that not all images seem to be of one class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.evidence import AnswersEvidence, is_trained
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.data.alternatives import Pixels
from reprune_onnx.data.target import DataInput
from reprune_onnx.errors import RepruneError
from reprune_onnx.note import Note
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Ints, Model
from reprune_onnx.watch import Progress

_STRANGE = 3.0  # the most that one channel of one image may be off: no image alone should decide
_CLASSES = 0.25  # of what all layers count for, that an even spread over classes does
_BATCH, _NUMBERS = 16, 1 << 20  # images at a time, and numbers in them


@dataclass(frozen=True)
class ChosenImages:
    """Which images ``at (n,)`` were taken of ``drawn``, ``by`` "statistics", "answers", "nothing".

    ``before`` and ``after`` are how far all of them, and those taken, are on average from what is
    wanted: 1 where every channel of every layer is off by its deviation.
    """

    at: Ints
    drawn: int
    by: str
    before: float = 0.0
    after: float = 0.0

    def as_json(self) -> dict[str, object]:
        """Return it as plain values, for the report."""
        far = {"before": round(self.before, 4), "after": round(self.after, 4)}
        return {"of": self.drawn, "by": self.by, **(far if self.by in _TOLD else {})}

    @property
    def notes(self) -> tuple[Note, ...]:
        """A line for the user on the images that were chosen; none where nothing was chosen."""
        if self.by not in _TOLD:
            return ()
        return (
            Note(
                f"{len(self.at)} of {self.drawn} generated images were taken, {_TOLD[self.by]} (off"
                f" by {self.after:.2f} instead of {self.before:.2f})"
            ),
        )


_TOLD = {
    "statistics": "which give all BatchNormalizations nearest to what the file states",
    "answers": "to which the answers are spread over the classes",
}


class Chooser:
    """The choice of images like ``some`` by a model; ``by`` is "nothing" where it tells nothing."""

    def __init__(self, model: Model, port: DataInput, some: Pixels) -> None:
        self._port, self._graph = port, Graph(model)
        self._norms = [op for op in self._graph.ops if is_trained(op, self._graph)]
        self._answers = _classifier(model, some)
        self.by = "nothing" if self._answers is None else "answers"
        self._session: Session | None = None
        if self._norms:
            self.by = "statistics"
            names = [op.inputs[0] for op in self._norms if op.inputs[0] != port.name]
            names += [] if self._answers is None else [self._answers.tensor]
            outputs = list(dict.fromkeys(names))
            self._session = Session(model.proto, optimize=True, threads=1, outputs=outputs)

    def choose(self, pixels: Pixels, n: int, progress: Progress | None = None) -> ChosenImages:
        """Choose ``n`` of the images, fed as their preprocessing says; the first n by nothing."""
        drawn = len(pixels.x)
        if self.by == "nothing" or drawn <= n:
            return ChosenImages(np.arange(n), drawn, "nothing")
        deviations = []
        for x in self._batches(pixels):
            deviations.append(self._deviations(x))
            if progress is not None:
                progress("choosing images", sum(map(len, deviations)), drawn)
        rows = np.concatenate(deviations).astype(np.float32)
        at = nearest(rows, n)
        return ChosenImages(at, drawn, self.by, _far(rows), _far(rows[at]))

    def _batches(self, pixels: Pixels) -> Iterator[NDArray[Any]]:
        """The images as they are fed; a static batch is filled with the last ones once more."""
        static = self._port.shape[0]
        size = static or max(1, min(_BATCH, _NUMBERS // pixels.x[0].size))
        for start in range(0, len(pixels.x), size):
            yield replace(pixels, x=pixels.x[start : start + size]).fed(pixels.preprocess)

    def _deviations(self, x: NDArray[Any]) -> Floats:
        """The deviation of each image of x (b, …) from what is wanted, (b, ·).

        The squared length of a row is a mean over layers of mean squares over channels.
        """
        if self._session is None:
            assert self._answers is not None, "there is something to choose by"
            p = self._answers.probabilities(x)
            return np.asarray(p - 1 / p.shape[1])
        filled = _filled(x, self._port.shape[0] or len(x))
        feeds = {self._port.name: filled}
        made = feeds | self._session.run(feeds)
        norms = [_moments(made[op.inputs[0]][: len(x)], op, self._graph) for op in self._norms]
        parts = [rows / np.sqrt(len(norms)) for rows in norms]
        if self._answers is not None:
            p = self._answers.of(made[self._answers.tensor][: len(x)])
            parts.append((p - 1 / p.shape[1]) * np.sqrt(_CLASSES))
        return np.concatenate(parts, axis=1)


def nearest(rows: NDArray[np.float32], n: int) -> Ints:
    """Return n of the images, ascending, the mean of whose ``rows`` (N, ·) is near to 0.

    >>> nearest(np.array([[3.0], [1.0], [-1.1], [5.0]], np.float32), 2).tolist()
    [1, 2]
    """
    left = (rows**2).sum(axis=1, dtype=np.float64)
    total = np.zeros(rows.shape[1], np.float32)
    taken = []
    for _ in range(min(n, len(rows))):
        best = int(np.argmin(left + 2.0 * (rows @ total)))
        taken.append(best)
        left[best] = np.inf
        total += rows[best]
    return np.sort(np.array(taken, dtype=np.int64))


def _classifier(model: Model, some: Pixels) -> AnswersEvidence | None:
    """The model's answers, where it is a classifier."""
    try:
        evidence = AnswersEvidence(model)
        evidence.probabilities(replace(some, x=some.x[:1]).fed(some.preprocess))
    except RepruneError:
        return None
    return evidence


def _moments(y: NDArray[Any], op: Op, graph: Graph) -> Floats:
    """The means and second moments (b, 2·c) of y (b, c, …) beyond those that a norm states."""
    mean, variance = (graph.array(op.inputs[k]).astype(np.float64) for k in (3, 4))
    scale = np.sqrt(variance + float(op.attrs.get("epsilon", 1e-5)))
    flat = y.reshape(*y.shape[:2], -1)
    means = flat.mean(axis=2, dtype=np.float64)
    square = np.einsum("bcp,bcp->bc", flat, flat).astype(np.float64) / flat.shape[2]
    m = (means - mean) / scale
    q = (square - 2 * mean * means + mean**2) / scale**2 - 1
    both = np.concatenate([m, q], axis=1).clip(-_STRANGE, _STRANGE)
    rows: Floats = both / np.sqrt(both.shape[1])
    return rows


def _filled(x: NDArray[Any], size: int) -> NDArray[Any]:
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)])


def _far(rows: NDArray[np.float32]) -> float:
    """The length of the mean row."""
    return float(np.linalg.norm(rows.mean(axis=0, dtype=np.float64)))
