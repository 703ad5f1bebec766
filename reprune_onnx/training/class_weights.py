"""The weights of classes in the loss of labels: `--class-weights`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from reprune_onnx import unreadable
from reprune_onnx.errors import DataError
from reprune_onnx.json_text import parse_json
from reprune_onnx.training.goal import Goal

BALANCED = "balanced"
_MOST = 1 << 24  # bytes: a file of weights is small


def class_weights(
    given: str | Sequence[float], goal: Goal, targets: Iterable[Tensor], names: Sequence[str] | None
) -> Tensor:
    """The weights (classes,) that ``given`` says: numbers, a file of them, or ``balanced``.

    ``balanced`` is by ``targets``, the training labels: n / (classes · n_c) of classes, as
    scikit-learn has it, and of several labels the images without over those with each; 1 where
    there are none. A file is numbers between commas, blanks or lines, or JSON: a list, or an object
    by class number or by the class's name in ``names``. Raises DataError where they are not
    ``goal``'s classes.
    """
    size = goal.ours.answering.size
    assert size is not None
    if given == BALANCED:
        return _BALANCE[goal.task.name](goal, targets, size)
    numbers = _read(given, size, names) if isinstance(given, str) else [float(w) for w in given]
    if len(numbers) != size:
        raise DataError(
            f"--class-weights gives {len(numbers)} numbers, but the model has {size} classes; give"
            " one for each"
        )
    if not all(math.isfinite(w) and w >= 0 for w in numbers) or not any(numbers):
        raise DataError("--class-weights are to be 0 or more, and not all 0")
    return torch.tensor(numbers)


def _read(given: str, size: int, names: Sequence[str] | None) -> list[float]:
    path = Path(given).expanduser()
    if not path.is_file():
        return _numbers(given, f"--class-weights '{given}'")
    try:
        if path.stat().st_size > _MOST:
            raise DataError(
                f"--class-weights '{path}' has more than 16 MiB: give a file of numbers"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = unreadable.reason(error)
        raise DataError(f"--class-weights '{path}' cannot be read: {reason}") from error
    what = f"--class-weights '{path}'"
    try:
        content = parse_json(text)
    except ValueError:
        return _numbers(text, what)
    if isinstance(content, dict):
        return _by_class(content, what, size, names)
    return _numbers(" ".join(map(str, content)) if isinstance(content, list) else text, what)


def _by_class(
    content: dict[str, object], what: str, size: int, names: Sequence[str] | None
) -> list[float]:
    """Weights by class; classes that are not named have 1."""
    places = {str(k): k for k in range(size)} | {name: k for k, name in enumerate(names or ())}
    weights = [1.0] * size
    for key, value in content.items():
        if key not in places or not isinstance(value, int | float):
            raise DataError(
                f"{what}: '{key}' with {value!r} is no weight of one of {size} classes; give a"
                " number by class number, from 0, or by class name"
            )
        weights[places[key]] = float(value)
    return weights


def _numbers(text: str, what: str) -> list[float]:
    words = [word for word in re.split(r"[\s,;]+", text.strip()) if word]
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise DataError(
            f"{what} is neither a file nor numbers such as 1,2.5,0.5; give a number for each class,"
            f" or {BALANCED}"
        ) from error


# ── balanced ────────────────────────────────────────────────────────────────────────────────


def _of_classes(goal: Goal, targets: Iterable[Tensor], size: int) -> Tensor:
    counts = torch.zeros(size, dtype=torch.float64)
    for target in targets:
        numbers = goal.settled(target).flatten().long()
        counts += torch.bincount(numbers[numbers >= 0], minlength=size)
    even = counts.sum() / (size * counts)
    return torch.where(counts > 0, even, 1.0).float()


def _of_labels(goal: Goal, targets: Iterable[Tensor], size: int) -> Tensor:
    del goal
    present, absent = torch.zeros(2, size, dtype=torch.float64)
    for target in targets:
        flags = target.reshape(len(target), -1)
        present += (flags == 1).sum(0)
        absent += (flags == 0).sum(0)
    return torch.where((present > 0) & (absent > 0), absent / present, 1.0).float()


_BALANCE: dict[str, Callable[[Goal, Iterable[Tensor], int], Tensor]] = {
    "classification": _of_classes,
    "semantic-segmentation": _of_classes,
    "multi-label": _of_labels,
}
