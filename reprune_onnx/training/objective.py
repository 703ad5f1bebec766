"""The objective of training: a loss of labels, the distance from the original, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprune_onnx.training.goal import Goal
from reprune_onnx.training.inputs import Inputs, device_of
from reprune_onnx.training.settings import TrainSettings

Loss = Callable[[Any, Any], Tensor]
"""(outputs of the graph, target) -> a scalar."""


@dataclass(frozen=True)
class Given:
    """The results of a batch: the loss, the outputs, and the original's outputs if it was run."""

    loss: Tensor
    outputs: Any
    answers: Any = None


@dataclass(frozen=True)
class Objective:
    """The loss of a batch.

    With labels it is that of the ``goal``'s task, or ``custom(outputs, target)`` of the first
    ``own_outputs`` tensors that the network gives. With a ``teacher``, the original model, it is
    the distance from its answers: as the task has it, or without a goal the squared error of every
    output in units of its variance; beside labels by the share ``distill_weight``.
    """

    settings: TrainSettings
    goal: Goal | None = None
    teacher: nn.Module | None = None
    custom: Loss | None = None
    own_outputs: int | None = None

    def __call__(self, module: Callable[..., Any], x: Inputs, target: Any) -> Given:
        """The loss, and what it was computed from; ``target`` is None without labels."""
        outputs = module(x)
        share = self._share(target)
        loss = torch.zeros((), device=device_of(x))
        answers = None
        if self.teacher is not None and share > 0:
            with torch.no_grad():
                answers = self.teacher(x)
            loss = loss + share * self._from_answers(outputs, answers)
        if share < 1:
            loss = loss + (1 - share) * self._from_labels(outputs, target)
        return Given(loss, outputs, answers)

    def right(self, given: Given, target: Any) -> Tensor | None:
        """The number of images of a batch that are given their label; None where it is unknown."""
        if self.goal is None or target is None:
            return None
        return self.goal.right(given.outputs, target)

    def _share(self, target: Any) -> float:
        """The teacher's part in the loss."""
        if self.teacher is None:
            return 0.0
        if target is None or (self.goal is None and self.custom is None):
            return 1.0
        return self.settings.distill_weight

    def _from_labels(self, outputs: Any, target: Any) -> Tensor:
        if self.custom is not None:
            if self.goal is not None and target is not None:
                target = self.goal.settled(target)
            return self.custom(_first(outputs, self.own_outputs), target)
        assert self.goal is not None
        return self.goal.from_labels(outputs, target)

    def _from_answers(self, outputs: Any, answers: Any) -> Tensor:
        if self.goal is not None:
            return self.goal.from_answers(outputs, answers)
        errors = [
            F.mse_loss(a.float(), b.float()) / b.float().var().clamp_min(1e-12)
            for a, b in zip(_each(outputs), _each(answers), strict=True)
            if a.is_floating_point()
        ]
        return torch.stack(errors).mean()


def _each(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _first(outputs: Any, n: int | None) -> Any:
    """The first n tensors; one alone is not a tuple."""
    each = _each(outputs)[:n]
    return each[0] if len(each) == 1 else each
