"""The evidence from a network that the values it is fed are like those it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.room import Room
from reprune_onnx.activations.store import Store
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.data.target import DataInput
from reprune_onnx.runtime.classifier import Classifier, probabilities
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Model

_LOOKED_AT = 3  # BatchNormalizations
_SPREAD = 1e-12
_AT_ONCE = 16  # images of which all layers are looked at
BIASES = 4
"""Layers with biases from which on these tell."""
_BIASED = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}  # the input that is the bias


class StatisticsEvidence:
    """The first BatchNormalizations of a network, whose statistics are those of its own images.

    ``names`` are the nodes, none where the network has none that was trained; ``most`` so many.
    """

    def __init__(self, model: Model, port: DataInput, most: int = _LOOKED_AT) -> None:
        self._model, self._port = model, port
        graph = Graph(model)
        self._ops = [op for op in graph.ops if is_trained(op, graph)][:most]
        self._stated = [tuple(graph.array(op.inputs[k]) for k in (3, 4)) for op in self._ops]
        self.names = [op.name for op in self._ops]

    def misfit(self, x: NDArray[Any]) -> float:
        """Return how far the inputs of the BatchNormalizations are from what the file states.

        Per channel it is KL(N(m, v) ‖ N(μ, σ²)) = ½ (v/σ² + (m − μ)²/σ² − 1 − ln(v/σ²)), with the
        mean m and variance v on the images x (n, …); of each node the mean of ln(1 + KL) over its
        channels, so that one channel cannot decide; and the mean over the nodes.
        """
        batches = [{self._port.name: part} for part in _batches(x, self._port.shape[0])]
        names = [op.inputs[0] for op in self._ops]
        store = Store(Room(0))  # of one step nothing is held
        frontier = Frontier(self._model, batches, [set(names)], [len(batches)], store)
        frontier.advance()
        computed = [frontier.compute(b) for b in range(len(batches))]
        parts = []
        for op, name, (mean, variance) in zip(self._ops, names, self._stated, strict=True):
            y = np.concatenate([np.moveaxis(c[name], 1, -1) for c in computed])
            y = y.reshape(-1, y.shape[-1]).astype(np.float64)
            parts.append(_divergence(y, mean, variance, float(op.attrs.get("epsilon", 1e-5))))
        return float(np.mean(parts))


class BiasEvidence:
    """The layers of a network that have a bias.

    Where a BatchNormalization was folded away, the bias takes away the mean of what the layer made
    of the images of the training set: fed as then, its outputs lie around zero again. ``layers`` is
    how many there are.
    """

    def __init__(self, model: Model, port: DataInput) -> None:
        self._port = port
        graph = Graph(model)
        ops = [op for op in graph.ops if _has_bias(op, graph)]
        self.layers = len(ops)
        if ops:
            self._names = [op.outputs[0] for op in ops]
            self._session = Session(model.proto, optimize=True, threads=1, outputs=self._names)

    def imbalance(self, x: NDArray[Any]) -> float:
        """Return how far the outputs of the layers are from lying around zero on images x (n, …).

        It is the mean of ln(1 + (m/s)²) over the channels of a layer, and over the layers, with the
        mean m and the deviation s of each channel.
        """
        sums: dict[str, list[Floats]] = {name: [] for name in self._names}
        batches = _batches(x, self._port.shape[0] or min(_AT_ONCE, len(x)))
        for part in batches:
            for name, y in self._session.run({self._port.name: part}).items():
                flat = np.moveaxis(y, 1, -1).reshape(-1, y.shape[1]).astype(np.float64)
                sums[name].append(np.stack([flat.mean(axis=0), (flat**2).mean(axis=0)]))
        parts = []
        for moments in sums.values():
            mean, square = np.mean(moments, axis=0)
            variance = np.maximum(square - mean**2, 0) + _SPREAD
            parts.append(float(np.mean(np.log1p(mean**2 / variance))))
        return float(np.mean(parts))


class AnswersEvidence:
    """A classifier's answers; ModelError where the model is none."""

    def __init__(self, model: Model) -> None:
        self._classifier = Classifier(model, "the model", 0)

    @property
    def tensor(self) -> str:
        """The output that holds the answers; known from the first images on."""
        return self._classifier.output

    def probabilities(self, x: NDArray[Any]) -> Floats:
        """The probabilities (n, classes) of images x."""
        return self.of(self._classifier.scores(x, 0))

    def of(self, scores: NDArray[Any]) -> Floats:
        """The probabilities (n, classes) that ``tensor`` (n, classes[, 1, 1]) stands for."""
        rows = scores.reshape(len(scores), -1).astype(np.float64)
        return probabilities(rows, self._classifier.normalized)


def information(p: Floats) -> float:
    """The information of answers (n, classes) about the images, in nats: H(mean p) − mean H(p).

    Answers that are sure and that differ tell most. A network whose inputs are not its own doubts,
    or says the same of all.

    >>> round(information(np.eye(2)), 4), information(np.full((2, 2), 0.5))
    (0.6931, 0.0)
    """
    return float(_entropy(p.mean(axis=0)) - np.mean(_entropy(p)))


def most_information(p: Floats) -> float:
    """The most that n answers of so many classes can tell: ln(min(n, classes))."""
    return float(np.log(min(p.shape)))


def _entropy(p: Floats) -> Floats:
    result: Floats = -(p * np.log(np.maximum(p, _SPREAD))).sum(axis=-1)
    return result


def _divergence(y: Floats, mean: Floats, variance: Floats, epsilon: float) -> float:
    stated = variance.astype(np.float64) + epsilon
    ratio = (y.var(axis=0) + epsilon) / stated
    kl = (ratio + (y.mean(axis=0) - mean) ** 2 / stated - 1 - np.log(ratio)) / 2
    return float(np.mean(np.log1p(np.maximum(kl, 0))))


def tells_of_images(model: Model) -> bool:
    """Whether a file holds statistics of the images of its training set, or enough biases."""
    graph = Graph(model)
    return any(is_trained(op, graph) for op in graph.ops) or (
        sum(_has_bias(op, graph) for op in graph.ops) >= BIASES
    )


def is_trained(op: Op, graph: Graph) -> bool:
    """Whether this is a BatchNormalization with statistics of images; 0 and 1 are of none."""
    if op.type != "BatchNormalization" or op.attrs.get("training_mode") or len(op.inputs) < 5:
        return False
    if not all(graph.is_constant(op.inputs[k]) for k in (3, 4)):
        return False
    mean, variance = (graph.array(op.inputs[k]) for k in (3, 4))
    return bool(mean.any() or (variance != 1).any())


def _has_bias(op: Op, graph: Graph) -> bool:
    """Whether this is a layer with a bias of values that differ from zero."""
    k = _BIASED.get(op.type)
    if k is None or len(op.inputs) <= k or not graph.is_constant(op.inputs[k]):
        return False
    return bool(graph.array(op.inputs[k]).any())


def _batches(x: NDArray[Any], static: int | None) -> Sequence[NDArray[Any]]:
    """The images in batches that the model takes; what does not fill one is left out."""
    size = static or len(x)
    return [x[i : i + size] for i in range(0, len(x) - size + 1, size)]
