"""Labels that a training needs are there, and are the model's: told before the first epoch."""

from __future__ import annotations

from reprune_onnx.errors import DataError
from reprune_onnx.tasks import CLASSIFICATION
from reprune_onnx.training.examples import Examples
from reprune_onnx.training.goal import Goal
from reprune_onnx.training.task import Task


def check_labels(train: Examples, val: Examples | None, goal: Goal | None, task: Task) -> None:
    """Raise DataError where images lack the labels that ``task`` needs, or have others.

    ``goal`` is None where the model is no classifier, and no other task was named.
    """
    if goal is None:
        if task.custom is None and task.teacher is None:
            raise DataError(
                "the model has no output (N, classes): name what it does with --task, give the"
                " original with --distill, or a --loss"
            )
        return
    classifies = goal.task.name == CLASSIFICATION.name
    wanted = "labelled images" if classifies else goal.task.wanted
    if not train.labelled and task.teacher is None:
        raise DataError(
            f"{train.name} has no labels: give {wanted}, or the original with --distill"
        )
    for examples in (train, val):
        if examples is None or not examples.labelled:
            continue
        for target in examples.targets():
            goal.settled(target)
        if classifies:
            _check_classes(examples, goal.ours.answering.size or 0, all_seen=examples is train)
    if val is not None and not val.labelled and task.teacher is None:
        raise DataError(
            f"{val.name} has no labels, so --val measures nothing: give {wanted}, or the original"
            " with --distill"
        )


def _check_classes(examples: Examples, classes: int, all_seen: bool) -> None:
    most = max(int(target.max()) for target in examples.targets())
    if most >= classes or (most < classes - 1 and all_seen):
        raise DataError(
            f"{examples.name}: labels are 0 to {most}, but the model has {classes} classes, 0 to"
            f" {classes - 1}; give data with the model's classes, or with --distill name the images"
            " alone, as in FILE.npz:x,"
        )
