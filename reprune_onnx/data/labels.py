"""Labels and how they are read: checked where they are needed, else taken if they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reprune_onnx.data.source import Answers, Raw
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

Read = tuple["Answers | None", "str | None"]


@dataclass(frozen=True)
class LabelFormat:
    """``clean(y, n, name)`` returns the labels of n images, or raises a DataError.

    Labels that are not ``needed``, as those of calibration images, stop nothing: where they are not
    what ``clean`` takes, there are none. ``beside`` is where a folder of images has them: the
    sub-folders' order, masks/ beside images/, or a .csv or .json.
    """

    clean: Callable[[Raw, int, str], Answers]
    needed: bool = True
    beside: Literal["folders", "masks", "table"] = "folders"

    def where_they_fit(self) -> LabelFormat:
        """The same labels, not needed."""
        return replace(self, needed=False)

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


def class_masks(y: Raw, n: int, name: str) -> Answers:
    """Return masks as integers (n, h, w); DataError where they are not n of them."""
    if y.ndim == 4 and 1 in (y.shape[1], y.shape[3]):
        y = y[:, 0] if y.shape[1] == 1 else y[..., 0]
    _check_rows(y, n, name, "mask")
    if y.ndim != 3:
        raise DataError(
            f"{name}: masks of shape {y.shape} have rank {y.ndim}, not 3; give a class number per"
            " pixel, (N, H, W) (of one-hot masks, y.argmax(1))"
        )
    if y.dtype == bool:
        return y.astype(np.uint8)
    if y.dtype.kind not in "iuf":
        raise DataError(f"{name}: masks of type {y.dtype}; give class numbers from 0, as integers")
    fits = y.dtype == np.uint8 or (y.dtype.kind == "i" and y.dtype.itemsize <= 4)
    if not fits:
        with np.errstate(invalid="ignore"):
            classes = y.astype(np.int32)
        if not (classes == y).all():
            raise DataError(f"{name}: masks of {y.dtype} that are no class numbers; give integers")
        return classes
    return y


def numbers(y: Raw, n: int, name: str) -> Answers:
    """Return targets as float32 (n, …), NaN where one is not known; DataError for others."""
    _check_rows(y, n, name, "target")
    if y.dtype.kind not in "iufb":
        raise DataError(f"{name}: targets of type {y.dtype}; give numbers")
    result = y.astype(np.float32)
    if np.isinf(result).any():
        raise DataError(f"{name}: infinite targets; correct them, or write NaN for unknown ones")
    return result


def flags(y: Raw, n: int, name: str) -> Answers:
    """Return labels as float32 (n, labels): 0, 1, or NaN for -1, which is unknown."""
    result = numbers(y, n, name)
    if result.ndim != 2:
        raise DataError(
            f"{name}: labels of shape {y.shape} have rank {y.ndim}, not 2; give 0 or 1 for every"
            " label of every image, (N, labels)"
        )
    result[result == -1] = np.nan
    wrong = result[~np.isnan(result) & (result != 0) & (result != 1)]
    if len(wrong):
        raise DataError(f"{name}: a label of {wrong[0]:g}; give 0, 1, or -1 where it is not known")
    return result


def _check_rows(y: Raw, n: int, name: str, what: str) -> None:
    if y.ndim == 0 or len(y) != n:
        rows = "no" if y.ndim == 0 else len(y)
        raise DataError(f"{name}: {n} images but {rows} {what}s; give one {what} per image")


CLASSES = LabelFormat(class_numbers)
IF_CLASSES = CLASSES.where_they_fit()
MASKS = LabelFormat(class_masks, beside="masks")
NUMBERS = LabelFormat(numbers, beside="table")
FLAGS = LabelFormat(flags, beside="table")
