"""Training a model that ends in operators which ONNX Runtime lacks: up to them, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from reprune_onnx.report.fields import Report
from reprune_onnx.runtime.tail import find_tail, head_of
from reprune_onnx.training.checkpoint import Checkpoint
from reprune_onnx.training.run import Run
from reprune_onnx.training.task import Task
from reprune_onnx.types import Model


@dataclass(frozen=True)
class Finetuned:
    """The trained model, the log, and the report of a pruning that was part of it.

    ``main``: this is the process that writes. ``checkpoints`` are to be deleted once it has.
    """

    model: Model
    log: dict[str, Any]
    main: bool = True
    checkpoints: tuple[Checkpoint, ...] = ()
    report: Report | None = None


def around_tail(
    model: Model, task: Task, run: Run, train: Callable[[Model, Task], Finetuned]
) -> Finetuned:
    """Let ``train`` have what stands before the tail, of the teacher too; the tail goes back."""
    if task.teacher is not None:
        task = replace(task, teacher=head_of(task.teacher))
    tail = find_tail(model)
    if tail is None:
        return train(model, task)
    done = train(tail.head, task)
    written = tail.put_back(done.model)
    if run.on_line is not None and done.main:
        run.on_line(tail.note)
    report = done.report
    if report is not None:
        report = report.copy()
        report["after"] = {**report["after"], "bytes": written.bytes}
        report["notes"] = [*report["notes"], tail.note]
    return replace(done, model=written, report=report)
