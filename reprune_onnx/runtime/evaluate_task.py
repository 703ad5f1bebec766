"""A model's answers measured as its task wants it: on labels, and against the original."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.opened import batches_for
from reprune_onnx.arguments import wrong_type
from reprune_onnx.data.dataset import BATCH_SIZE, Dataset
from reprune_onnx.data.labels import LabelFormat
from reprune_onnx.data.source import Feed, rows
from reprune_onnx.errors import DataError, ModelError, UsageError
from reprune_onnx.model import ModelLike, as_model
from reprune_onnx.note import Note
from reprune_onnx.runtime.predictor import Predictor
from reprune_onnx.shapes import Layout
from reprune_onnx.taken import DataLike
from reprune_onnx.tasks import TASKS, TaskKind
from reprune_onnx.tasks.heads import head_among
from reprune_onnx.tasks.kinds import Head, TargetReading
from reprune_onnx.tasks.reading import reading_of
from reprune_onnx.tasks.tally import Tally
from reprune_onnx.types import Model
from reprune_onnx.watch import Steps


@dataclass(frozen=True)
class TaskEvaluation:
    """The measures on ``n`` images; ``scores`` has the names of the task's tallies.

    ``notes`` state assumptions about the labels, or why they were not used.
    """

    n: int
    task: str
    scores: dict[str, Any]
    notes: tuple[Note, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Everything in one flat record."""
        return {"n": self.n, "task": self.task, **self.scores, "notes": list(self.notes)}


def evaluate_task(
    model: ModelLike,
    data: DataLike,
    task: TaskKind | str,
    against: ModelLike | None = None,
    ignore: int | None = None,
    progress: Steps | None = None,
) -> TaskEvaluation:
    """Measure ``model`` on the labels of ``data``, and with ``against`` compare it with that.

    ``task`` is a name of ``--task``, but for classification and detection, which have functions of
    their own. Data that is a path, or arrays, is opened and preprocessed for the model.
    The answers are the first output that fits the task (and the labels). Raises UsageError for an
    unknown task, DataError where labels do not fit the model, or there are none and ``against`` is
    not given; ModelError where no output fits, or gives NaN.
    """
    task = task if isinstance(task, TaskKind) else _named(task)
    model = as_model(model)
    original = None if against is None else as_model(against, "against")
    data = _opened(model, data, task.labels if original is None else task.labels.where_they_fit())
    layout = data.target.layout
    models = [_Answering(model, "the model", task, layout)]
    if original is not None:
        models.append(_Answering(original, "the original", task, layout))
    batch = max(each.batch or 1 for each in models)
    size = max(1, BATCH_SIZE // batch) * batch
    reading, notes = TargetReading(ignore), [] if data.unused is None else [_unused(data.unused)]
    tally, agreement = task.tally(reading), task.agreement()
    n = labelled = 0
    for x, y in data.batches(size):
        given = [each.answers(x, y, n) for each in models]
        if y is None and against is None:
            raise DataError(f"{data.name} has no labels: give {task.wanted}, or --against ORIGINAL")
        if y is not None:
            if not n:
                reading, more = reading_of(data, task, (given[0], y), models[0].head, ignore)
                notes += more
                tally = task.tally(reading)
            tally.add(*task.beside(given[0], y, models[0].head, reading))
            labelled += rows(x)
        if against is not None:
            agreement.add(*task.alike(given[0], given[1], models[0].head, models[1].head))
        n += rows(x)
        if progress is not None:
            progress(n, data.size or 0)
    if not n:
        raise DataError(f"{data.name} holds no images; give at least one")
    scores = _scores(tally, labelled == n) | _scores(agreement, against is not None)
    return TaskEvaluation(n, task.name, scores, tuple(notes))


def task_agreement(
    model: Model, original: Model, batches: Iterable[Feed], task: TaskKind
) -> dict[str, Any]:
    """The scores of the task's agreement over batches that both models take as they are."""
    ours = _Answering(model, "the model", task, "nchw")
    theirs = _Answering(original, "the original", task, "nchw")
    agreement, n = task.agreement(), 0
    for x in batches:
        given = [each.answers(x, None, n) for each in (ours, theirs)]
        agreement.add(*task.alike(given[0], given[1], ours.head, theirs.head))
        n += rows(x)
    return agreement.scores()


def _named(task: str) -> TaskKind:
    if task not in TASKS:
        raise UsageError(f"task '{task}' is not one of {', '.join(TASKS)}")
    return TASKS[task]


def _opened(model: Model, data: DataLike, labels: LabelFormat) -> Dataset:
    dataset = batches_for(model.proto, data, labels)
    if not isinstance(dataset, Dataset):
        raise wrong_type("data", data, "a path, an array or a Dataset")
    return dataset


def _scores(tally: Tally, measured: bool) -> dict[str, Any]:
    return tally.scores() if measured else {}


def _unused(reason: str) -> Note:
    return Note(f"labels are not used: {reason}")


class _Answering(Predictor):
    """A model and the output that holds its answers, chosen in the first batch."""

    def __init__(self, model: Model, title: str, task: TaskKind, given: Layout) -> None:
        super().__init__(model, title, 0)
        self.task, self.given = task, given
        self.head = Head("")

    def answers(self, x: Feed, y: NDArray[Any] | None, done: int) -> NDArray[np.generic]:
        """The answers to x, with a row per image."""
        names = [self.head.name] if self.head.name else [o.name for o in self.session.outputs]
        outputs = self.outputs(x, names)
        if not self.head.name:
            head = head_among(outputs, rows(x), self.task, y, self._head)
            if head is None:
                raise ModelError(
                    f"{self.title} has no output {self.task.output}, only {self.listed()}; --task"
                    f" {self.task.name} needs one"
                )
            self.head = head
        answers = outputs[self.head.name]
        if answers.dtype.kind == "f" and not np.isfinite(answers).all():
            bad = np.flatnonzero(~np.isfinite(answers).reshape(len(answers), -1).all(axis=1))
            raise ModelError(
                f"{self.title}: output '{self.head.name}' has NaN or infinite values for image"
                f" {done + bad[0]}; check the model's weights and --preprocess"
            )
        return answers

    def _head(self, output: str) -> Head:
        return Head(output, self.maker(output), self.layout(output, self.given))
