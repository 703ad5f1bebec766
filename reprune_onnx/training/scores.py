"""Which tensor of a classifier holds its logits."""

from __future__ import annotations

import torch
from torch import Tensor

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.types import Model

_COPIES = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_SQUASHES = {"Softmax", "LogSoftmax", "Sigmoid"}


def logits_of(model: Model, images: Tensor) -> tuple[str, int] | None:
    """The tensor to train a classifier on, and its number of classes; None if it is none.

    The classes are the first floating-point output of shape (N, classes[, 1, 1]), of two or more.
    Where a Softmax, LogSoftmax or Sigmoid made it, the tensor before that is taken: a loss of
    logits keeps its precision. Raises ModelError for what the bridge lacks.
    """
    module = torch_module(model)
    with torch.no_grad():
        outputs = module(images)
    values = outputs if isinstance(outputs, tuple) else (outputs,)
    for name, y in zip(module.output_names, values, strict=True):
        if y.is_floating_point() and y.ndim >= 2 and y.shape[0] == len(images):
            classes = y.shape[1]
            if classes >= 2 and y.numel() == len(images) * classes:
                return _before_squash(model, name), classes
    return None


def _before_squash(model: Model, output: str) -> str:
    graph = Graph(written_out(model))
    op = graph.producer(output)
    while op is not None and op.type in _COPIES:
        op = graph.producer(op.inputs[0])
    return op.inputs[0] if op is not None and op.type in _SQUASHES else output
