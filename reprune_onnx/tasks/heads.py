"""Which output of a model holds the answers of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reprune_onnx.data.source import Answers
from reprune_onnx.errors import DataError
from reprune_onnx.tasks import TaskKind
from reprune_onnx.tasks.kinds import Head, TargetReading


def head_among(
    outputs: Mapping[str, Answers],
    n: int,
    task: TaskKind,
    target: Answers | None,
    head: Callable[[str], Head],
) -> Head | None:
    """The first of a model's ``outputs`` for n images that the labels ``target`` go with.

    Without labels, or where none goes with them, it is the first that fits the task: the comparison
    itself says why they do not. None where no output fits.
    """
    heads = [head(name) for name, y in outputs.items() if task.fits(y, n)]
    for each in heads:
        if target is None:
            break
        try:
            task.beside(outputs[each.name], target, each, TargetReading())
        except DataError:
            continue
        return each
    return heads[0] if heads else None
