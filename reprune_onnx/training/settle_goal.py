"""The goal of a training, from the model, the original and the first images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.data.source import Answers
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note
from reprune_onnx.tasks import CLASSIFICATION, TaskKind
from reprune_onnx.tasks.kinds import TargetReading
from reprune_onnx.tasks.reading import reading_of
from reprune_onnx.training.answers import AnswerTensors, answering
from reprune_onnx.training.bridge import OnnxModule, torch_module
from reprune_onnx.training.goal import Goal, Module
from reprune_onnx.training.inputs import Inputs
from reprune_onnx.training.losses import Terms
from reprune_onnx.training.scores import taught_tensors
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.task import Task
from reprune_onnx.types import Model


@dataclass(frozen=True)
class Sample:
    """Some images, their labels (None without any), and the data that they are of."""

    images: Inputs
    labels: Tensor | None
    data: Dataset

    def target(self) -> Answers | None:
        """The labels as numpy has them."""
        return None if self.labels is None else self.labels.numpy()


@dataclass(frozen=True)
class Settled:
    """A goal, where there is one, and the original as a module.

    ``outputs`` are what the trained module is to compute, None for the graph's own. ``notes`` are
    what was assumed of the labels.
    """

    goal: Goal | None
    teacher: OnnxModule | None
    outputs: list[str] | None
    notes: tuple[Note, ...] = ()


def settle_goal(model: Model, task: Task, settings: TrainSettings, sample: Sample) -> Settled:
    """Settle the goal that ``model`` is trained towards.

    There is no goal where only a custom loss was asked for, or where a model is no classifier and
    no other task was named. Raises DataError where model, original and labels do not go together.
    """
    what, layout = task.what, sample.data.target.layout
    ours = None
    if task.teacher is not None:
        _check_inputs(model, task.teacher)
    if what is not None:
        ours = answering(model, what, sample.images, sample.target(), layout)
        if ours is None and what.name != CLASSIFICATION.name:
            raise DataError(f"the model has no output {what.output}; --task {what.name} needs one")
    if what is None or ours is None:
        return _without_goal(model, task, sample)
    outputs = ours.tensors()
    if task.custom is not None:
        outputs = list(dict.fromkeys((*torch_module(model).output_names, *outputs)))
    module = Module(ours, tuple(outputs))
    its, teacher = None, None
    if task.teacher is not None:
        theirs = answering(task.teacher, what, sample.images, sample.target(), layout)
        its = _alike(ours, theirs, what)
        teacher = torch_module(task.teacher, its.outputs).requires_grad_(False)
    reading, notes = _reading(model, module, task, sample)
    terms = Terms(None, settings.label_smoothing, settings.temperature, reading)
    goal = Goal(what, task.task_loss, module, terms, its)
    _try(goal, model, teacher, sample)
    return Settled(goal, teacher, outputs, tuple(notes))


def _without_goal(model: Model, task: Task, sample: Sample) -> Settled:
    if task.teacher is None:
        return Settled(None, None, None)
    if task.custom is not None:
        return Settled(None, beside_own_loss(model, task.teacher), None)
    taught = taught_tensors(task.teacher, sample.images)
    teacher = torch_module(task.teacher, taught).requires_grad_(False)
    return Settled(None, teacher, taught_tensors(model, sample.images))


def beside_own_loss(model: Model, original: Model) -> OnnxModule:
    """The original as a module, whose outputs are compared with the model's one by one."""
    teacher = torch_module(original).requires_grad_(False)
    mine, theirs = len(torch_module(model).output_names), len(teacher.output_names)
    if mine != theirs:
        raise DataError(
            f"--distill: the original has {theirs} outputs, the model has {mine}; give the file"
            " that it was pruned from"
        )
    return teacher


def _check_inputs(model: Model, original: Model) -> None:
    """Raise DataError where several inputs, which get their arrays by name, are not the same."""
    mine, theirs = torch_module(model).input_names, torch_module(original).input_names
    if len(mine) != len(theirs) or (len(mine) > 1 and set(mine) != set(theirs)):
        raise DataError(
            f"--distill: the original has the inputs {', '.join(theirs)}, the model has"
            f" {', '.join(mine)}; give the file that it was pruned from"
        )


def _alike(ours: AnswerTensors, theirs: AnswerTensors | None, task: TaskKind) -> Module:
    if theirs is None or theirs.size != ours.size:
        named = "no output for the task" if task.name != CLASSIFICATION.name else "no classes"
        said = named if theirs is None else f"{theirs.size} classes"
        raise DataError(
            f"--distill: the original has {said}, the model has {ours.size}; give the file that it"
            " was pruned from"
        )
    return Module(theirs, tuple(theirs.tensors()))


def _reading(
    model: Model, module: Module, task: Task, sample: Sample
) -> tuple[TargetReading, list[Note]]:
    target, what = sample.target(), task.what
    if target is None or what is None:
        return TargetReading(task.ignore), []
    target = what.labels.clean(target, len(target), sample.data.name)
    with torch.no_grad():
        y = module.measured(torch_module(model, module.outputs)(sample.images))
    return reading_of(sample.data, what, (y, target), module.answering.measured, task.ignore)


def _try(goal: Goal, model: Model, teacher: OnnxModule | None, sample: Sample) -> None:
    """Bring the outputs together with labels and answers once: DataError where they do not fit."""
    with torch.no_grad():
        outputs = torch_module(model, goal.ours.outputs)(sample.images)
        if sample.labels is not None:
            goal.beside(outputs, sample.labels)
        if teacher is not None:
            goal.alike(outputs, teacher(sample.images))
