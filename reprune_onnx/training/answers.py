"""The tensors with a network's answers to a task: the one measured, and the one trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.op_kinds import RESIZING, SAME_ELEMENTS, SAME_NUMBERS
from reprune_onnx.analyzer.squash import SQUASHES, before_squash
from reprune_onnx.data.source import Answers, rows
from reprune_onnx.errors import DataError
from reprune_onnx.runtime.output_layout import layout_of
from reprune_onnx.runtime.predictor import maker_of
from reprune_onnx.shapes import Layout
from reprune_onnx.tasks import CLASSIFICATION, TaskKind
from reprune_onnx.tasks.heads import head_among
from reprune_onnx.tasks.kinds import Head, classes_of
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.inputs import Inputs
from reprune_onnx.training.scores import logits_of
from reprune_onnx.types import Model

_MOVES = SAME_NUMBERS | RESIZING  # the class axis stays where it is
_MAP_MOVES = _MOVES | SAME_ELEMENTS - {"Flatten"}
_LAYOUTS: dict[int, Layout] = {1: "nchw", 3: "nhwc"}


@dataclass(frozen=True)
class AnswerTensors:
    """The tensors of a network that hold its answers.

    ``measured`` is the output that `evaluate` reads, ``trained`` what the loss reads: the logits
    before a Softmax or Sigmoid, where there are any. ``size`` is the number of classes or labels
    that ``trained`` tells apart, None of numbers.
    """

    measured: Head
    trained: Head
    size: int | None

    def tensors(self) -> list[str]:
        """The tensors that a module has to compute, each once."""
        return list(dict.fromkeys((self.trained.name, self.measured.name)))


def answering(
    model: Model, task: TaskKind, images: Inputs, target: Answers | None, layout: Layout
) -> AnswerTensors | None:
    """Where ``model`` answers, seen on some ``images`` and their labels; None if nowhere.

    Raises ModelError for what the bridge lacks, and DataError for class numbers of pixels that no
    ArgMax over classes makes.
    """
    if task.name == CLASSIFICATION.name:
        logits = logits_of(model, images)
        if logits is None:
            return None
        head = Head(logits[0])
        return AnswerTensors(head, head, logits[1])
    net = _Network(model, images)
    outputs = net.computed(list(torch_module(model).output_names))
    measured = head_among(outputs, rows(images), task, target, lambda name: net.head(name, layout))
    if measured is None:
        return None
    trained = _TRAINED[task.name](net, measured)
    return AnswerTensors(measured, trained, _SIZES[task.name](net.values(trained.name), trained))


class _Network:
    """A model, and what it computes of some images."""

    def __init__(self, model: Model, images: Inputs) -> None:
        self.model, self.images = model, images
        self.graph = Graph(written_out(model))

    def computed(self, names: list[str]) -> dict[str, Answers]:
        with torch.no_grad():
            values = torch_module(self.model, names)(self.images)
        each = values if isinstance(values, tuple) else (values,)
        return {name: y.numpy() for name, y in zip(names, each, strict=True)}

    def values(self, name: str) -> Answers:
        return self.computed([name])[name]

    def head(self, name: str, layout: Layout) -> Head:
        proto = self.graph.proto
        return Head(name, maker_of(proto, name), layout_of(proto, name, layout))


# ── what is trained ─────────────────────────────────────────────────────────────────────────


def _itself(net: _Network, head: Head) -> Head:
    del net
    return head


def _before_labels(net: _Network, head: Head) -> Head:
    """The logits that a Sigmoid makes probabilities of."""
    name = before_squash(net.graph, head.name)
    return head if name == head.name else Head(name)


def _before_pixels(net: _Network, head: Head) -> Head:
    """The scores of classes that a class map is chosen by, and the logits before those."""
    y = net.values(head.name)
    if y.dtype.kind in "iu":
        head = _before_choice(net, head)
    elif y.ndim == 3:
        name = before_squash(net.graph, head.name)
        of_same_shape = name != head.name and net.values(name).shape == y.shape
        return Head(name, None, head.layout) if of_same_shape else head
    axis = 1 if head.layout == "nchw" else 3
    name = head.name
    while (op := net.graph.producer(name)) is not None:
        if op.type in SQUASHES and axis in _LAYOUTS:
            return Head(op.inputs[0], None, _LAYOUTS[axis])
        if op.type == "Transpose":
            axis = list(op.attrs.get("perm", (3, 2, 1, 0)))[axis]
        elif op.type not in _MOVES:
            break
        name = op.inputs[0]
    return head


def _before_choice(net: _Network, head: Head) -> Head:
    op = net.graph.producer(head.name)
    while op is not None and op.type in _MAP_MOVES:
        op = net.graph.producer(op.inputs[0])
    axis = None if op is None or op.type != "ArgMax" else op.attrs.get("axis", 0) % 4
    if op is None or axis not in _LAYOUTS or net.values(op.inputs[0]).ndim != 4:
        raise DataError(
            f"output '{head.name}' holds class numbers that no ArgMax over the classes of (N,"
            " classes, H, W) makes, so there is nothing to train: export the model with its scores"
            " as an output"
        )
    return net.head(op.inputs[0], _LAYOUTS[axis])


_TRAINED: dict[str, Callable[[_Network, Head], Head]] = {
    "semantic-segmentation": _before_pixels,
    "regression": _itself,
    "multi-label": _before_labels,
}


# ── how many classes it tells apart ─────────────────────────────────────────────────────────


def _labels(y: Answers, head: Head) -> int | None:
    del head
    return int(y[0].size)


def _none(y: Answers, head: Head) -> int | None:
    del y, head
    return None


_SIZES: dict[str, Callable[[Answers, Head], int | None]] = {
    "semantic-segmentation": classes_of,
    "regression": _none,
    "multi-label": _labels,
}
