"""The evidence from a network that the values it is fed are like those it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.joint import affine_step, only_reader
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.room import Room
from reprune_onnx.activations.store import Store
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS, SAME_VALUES
from reprune_onnx.data.target import DataInput
from reprune_onnx.runtime.classifier import Classifier, probabilities
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Model

_LOOKED_AT = 3  # BatchNormalizations
_SPREAD = 1e-12
_FAINT = 1e-4  # of a layer's mean squared bias: a smaller one counts as this
_AT_ONCE = 16  # images of which all layers are looked at
BIASES = 4
"""Layers with biases from which on these tell."""
BIASES_FIT = 4.5
"""A misfit of the biases beyond which no usual way is what the file was trained with."""
_BIASED_LAYERS = 8  # early ones tell the range, later ones also how images differ from photographs
_BIASED = frozenset({*CONVOLUTIONS, "Gemm"})


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
    """The first layers of a network with a bias, of their own or in an Add behind them.

    Where a BatchNormalization was folded away, the bias takes away the mean of what the layer made
    of the images of the training set, and is about as large as its outputs vary. Fed as then, they
    lie around zero again; fed with values that are far too small they are hardly more than the
    bias, with values that are far too large the bias is lost in them. ``layers`` is how many layers
    of the whole network have one.
    """

    def __init__(self, model: Model, port: DataInput) -> None:
        self._port = port
        biases = _biases(Graph(model))
        self.layers = len(biases)
        self._biases = dict(list(biases.items())[:_BIASED_LAYERS])
        if biases:
            names = list(self._biases)
            self._session = Session(model.proto, optimize=True, threads=1, outputs=names)

    def misfit(self, x: NDArray[Any]) -> float:
        """Return how far images x (n, …) are from what the biases of the first layers expect.

        It is the mean of ln(1 + (m/s)²) + ln(1 + (s/b)²) over the channels of a layer, and over the
        layers, with the mean m, the deviation s and the bias b of each channel.
        """
        sums: dict[str, list[Floats]] = {name: [] for name in self._biases}
        batches = _batches(x, self._port.shape[0] or min(_AT_ONCE, len(x)))
        for part in batches:
            for name, y in self._session.run({self._port.name: part}).items():
                flat = np.moveaxis(y, 1, -1).reshape(-1, y.shape[1]).astype(np.float64)
                sums[name].append(np.stack([flat.mean(axis=0), (flat**2).mean(axis=0)]))
        parts = []
        for name, moments in sums.items():
            b2 = self._biases[name] ** 2
            mean, square = np.mean(moments, axis=0)
            variance = np.maximum(square - mean**2, 0) + _SPREAD
            off = np.log1p(mean**2 / variance)
            lost = np.log1p(variance / np.maximum(b2, _FAINT * b2.mean()))
            parts.append(float(np.mean(off + lost)))
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
    return any(is_trained(op, graph) for op in graph.ops) or len(_biases(graph)) >= BIASES


def is_trained(op: Op, graph: Graph) -> bool:
    """Whether this is a BatchNormalization with statistics of images; 0 and 1 are of none."""
    if op.type != "BatchNormalization" or op.attrs.get("training_mode") or len(op.inputs) < 5:
        return False
    if not all(graph.is_constant(op.inputs[k]) for k in (3, 4)):
        return False
    mean, variance = (graph.array(op.inputs[k]) for k in (3, 4))
    return bool(mean.any() or (variance != 1).any())


def _biases(graph: Graph) -> dict[str, Floats]:
    """The biases (n_out,) of layers by the tensor that holds the outputs with the bias."""
    layers = (_with_bias(graph, op) for op in graph.ops)
    return dict(each for each in layers if each is not None)


def _with_bias(graph: Graph, op: Op) -> tuple[str, Floats] | None:
    """The output of a layer with a bias that differs from zero, and that; None of other nodes.

    Exporters that fold a BatchNormalization may leave its shift in an Add behind the layer, and its
    scale in a Mul.
    """
    if op.type not in _BIASED or op.domain or not op.has(1) or not graph.is_constant(op.inputs[1]):
        return None
    layer = Linear(op, graph.shape(op.inputs[1]))
    if not layer.has_plain_bias(graph):
        return None
    name, bias = op.outputs[0], layer.bias(graph)
    while (reader := only_reader(graph, name)) is not None:
        if _adds_axes(graph, reader, layer.trailing + 2):
            break
        step = affine_step(graph, reader, name, layer)
        if step is not None:
            bias = bias * step[0] + step[1]
        elif reader.type not in SAME_VALUES or reader.domain:
            break
        name = reader.outputs[0]
    return (name, bias) if bias.any() else None


def _adds_axes(graph: Graph, op: Op, rank: int) -> bool:
    """Whether a constant that a node reads has more axes than ``rank``, and so has its output."""
    return any(graph.is_constant(i) and len(graph.shape(i)) > rank for i in op.inputs)


def _batches(x: NDArray[Any], static: int | None) -> Sequence[NDArray[Any]]:
    """The images in batches that the model takes; what does not fill one is left out."""
    size = static or len(x)
    return [x[i : i + size] for i in range(0, len(x) - size + 1, size)]
