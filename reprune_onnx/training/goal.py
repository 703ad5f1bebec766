"""The goal of training: answers to a task, compared with labels and with a teacher's answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from reprune_onnx.data.source import Answers
from reprune_onnx.tasks import TaskKind
from reprune_onnx.tasks.kinds import Pair
from reprune_onnx.training.answers import AnswerTensors
from reprune_onnx.training.losses import TaskLoss, Terms


@dataclass(frozen=True)
class Module:
    """Where a module, which computes the tensors ``outputs``, has the answers."""

    answering: AnswerTensors
    outputs: tuple[str, ...]

    def trained(self, values: Any) -> Tensor:
        """The output that the loss reads, of all outputs of the module."""
        return self._one(values, self.answering.trained.name)

    def measured(self, values: Any) -> Answers:
        """The output that `evaluate` would read, of all outputs of the module."""
        y: Answers = self._one(values, self.answering.measured.name).detach().cpu().numpy()
        return y

    def _one(self, values: Any, name: str) -> Tensor:
        each = values if isinstance(values, tuple) else (values,)
        result: Tensor = each[self.outputs.index(name)]
        return result


@dataclass(frozen=True)
class Goal:
    """A task, its loss, and where the network and the original, ``its``, have their answers."""

    task: TaskKind
    loss: TaskLoss
    ours: Module
    terms: Terms
    its: Module | None = None

    def from_labels(self, outputs: Any, target: Tensor) -> Tensor:
        """The loss of all that the network gave, by labels."""
        return self.loss.labels(self._logits(self.ours, outputs), target, self.terms)

    def from_answers(self, outputs: Any, answers: Any) -> Tensor:
        """The loss of all that the network gave, by all that the original gave."""
        assert self.its is not None
        theirs = self._logits(self.its, answers)
        return self.loss.answers(self._logits(self.ours, outputs), theirs, self.terms)

    def right(self, outputs: Any, target: Tensor) -> Tensor | None:
        """The number of images that are given their label; None where a task cannot say."""
        count = self.loss.right
        return None if count is None else count(self._logits(self.ours, outputs), target)

    def beside(self, outputs: Any, target: Tensor) -> Pair:
        """The pair that the tally of the task takes: answers and labels."""
        head, reading = self.ours.answering.measured, self.terms.reading
        return self.task.beside(self.ours.measured(outputs), target.cpu().numpy(), head, reading)

    def alike(self, outputs: Any, answers: Any) -> Pair:
        """The pair that the tally of agreement takes: both models' answers."""
        assert self.its is not None
        return self.task.alike(
            self.ours.measured(outputs),
            self.its.measured(answers),
            self.ours.answering.measured,
            self.its.answering.measured,
        )

    def _logits(self, module: Module, values: Any) -> Tensor:
        return self.loss.read(module.trained(values), module.answering.trained)

    def weighted(self, weights: Tensor) -> Goal:
        """The same goal, with weights (classes,) in the loss of labels."""
        return replace(self, terms=replace(self.terms, weights=weights))

    def settled(self, target: Tensor) -> Tensor:
        """Labels as a loss of one's own gets them, and as they are counted."""
        size = self.ours.answering.size
        result: Tensor = self.task.settle(target, size, self.terms.reading)
        return result
