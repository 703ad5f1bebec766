"""The tensors that training reads: logits, and the scores that an ArgMax chooses from."""

from __future__ import annotations

import torch
from torch import Tensor

from reprune_onnx.analyzer.ends import before_suppression
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.squash import before_squash, maker
from reprune_onnx.data.source import rows
from reprune_onnx.errors import DataError
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.inputs import Inputs
from reprune_onnx.types import Model

_CHOICES = {"ArgMax": 0, "ArgMin": 0, "TopK": 1}  # the output that holds places, without gradient


def logits_of(model: Model, images: Inputs) -> tuple[str, int] | None:
    """The tensor to train a classifier on, and its number of classes; None if it is none.

    The classes are the first floating-point output of shape (N, classes[, 1, 1]), of two or more,
    or what an ArgMax chooses from. Where a Softmax, LogSoftmax or Sigmoid made it, the tensor
    before that is taken: a loss of logits keeps its precision. Raises ModelError for what the
    bridge lacks.
    """
    names, n = [_before_choice(model, name) or name for name in _outputs(model)], rows(images)
    for name, y in zip(names, _computed(model, names, images), strict=True):
        if y.is_floating_point() and y.ndim >= 2 and y.shape[0] == n:
            classes = y.shape[1]
            if classes >= 2 and y.numel() == n * classes:
                return before_squash(Graph(written_out(model)), name), classes
    return None


def taught_tensors(model: Model, images: Inputs) -> list[str]:
    """The tensors that a teacher teaches: floating-point outputs, or what choices are made by.

    Of a detector that suppresses boxes itself they are all boxes and scores. Raises DataError where
    there is nothing to teach.
    """
    if before := before_suppression(Graph(written_out(model))):
        return before
    outputs = _outputs(model)
    floats = [
        name
        for name, y in zip(outputs, _computed(model, outputs, images), strict=True)
        if y.is_floating_point()
    ]
    behind = [_before_choice(model, name) for name in outputs]
    taught = floats or list(dict.fromkeys(name for name in behind if name is not None))
    if not taught:
        raise DataError(
            f"the outputs ({', '.join(outputs)}) hold no floating-point numbers, and no"
            f" {', '.join(sorted(_CHOICES))} makes them, so --distill has nothing to teach: export"
            " the model with its scores as an output"
        )
    return taught


def _outputs(model: Model) -> list[str]:
    return list(torch_module(model).output_names)


def _computed(model: Model, names: list[str], images: Inputs) -> tuple[Tensor, ...]:
    with torch.no_grad():
        outputs = torch_module(model, names)(images)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _before_choice(model: Model, output: str) -> str | None:
    """The input of the ArgMax, ArgMin or TopK that makes ``output``; None without one."""
    op, made = maker(Graph(written_out(model)), output)
    if op is None or op.type not in _CHOICES or made != op.outputs[_CHOICES[op.type]]:
        return None
    return op.inputs[0]
