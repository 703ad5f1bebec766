"""What labels are, and how they are read: checked where they are needed, else only if they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reprune_onnx.data.source import Answers, Raw
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

Read = tuple["Answers | None", "str | None"]


@dataclass(frozen=True)
class Labels:
    """``clean(y, n, name)`` returns the labels of n images, or raises a DataError.

    Labels that are not ``needed``, as those of calibration images, stop nothing: where they are not
    what ``clean`` takes, there are none.
    """

    clean: Callable[[Raw, int, str], Answers]
    needed: bool = True

    def read(self, load: Callable[[], Raw], n: int, name: str) -> Read:
        """Return the labels of ``n`` images and None, or None and why they are not used."""
        try:
            return self.clean(load(), n, name), None
        except DataError as error:
            if self.needed:
                raise
            return None, str(error)


def class_numbers(y: Raw, n: int, name: str) -> Ints:
    """Return labels as (n,) int64; DataError where they are not n class numbers."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(
            f"{name}: labels of shape {y.shape} have rank {y.ndim}, not 1; give one class number "
            "per image (of one-hot labels, y.argmax(1))"
        )
    if len(y) != n:
        raise DataError(f"{name}: {n} images but {len(y)} labels; give one label per image")
    if y.dtype.kind not in "iuf":
        raise DataError(f"{name}: labels of type {y.dtype}; give class numbers from 0, as integers")
    with np.errstate(invalid="ignore"):
        labels = y.astype(np.int64)
    wrong = np.flatnonzero((labels != y) | (labels < 0))
    if len(wrong):
        raise DataError(
            f"{name}: label {y[wrong[0]]} of image {wrong[0]} is not a class number; "
            "labels are whole numbers from 0"
        )
    return labels


CLASSES = Labels(class_numbers)
IF_CLASSES = Labels(class_numbers, needed=False)
