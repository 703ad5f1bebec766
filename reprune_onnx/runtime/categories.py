"""The categories of data that a detector's labels stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reprune_onnx.data.class_names import ClassNames
from reprune_onnx.data.coco import CocoData
from reprune_onnx.errors import DataError

LabelsAre = Literal["ids", "order"]
_OTHER: dict[LabelsAre, LabelsAre] = {"ids": "order", "order": "ids"}


@dataclass(frozen=True)
class Categories:
    """The ids of categories ``by_label``.

    ``named``: they are told by name, so that other labels are classes the data does not have.
    ``other`` is what labels may be instead, if anything.
    """

    by_label: dict[int, int]
    data: CocoData
    named: bool = False
    other: LabelsAre | None = None

    def check(self, labels: set[int]) -> None:
        """Refuse labels outside of the categories' numbers; COCO itself leaves gaps between ids."""
        if not self.by_label:
            raise DataError(
                f"'{self.data.name}' lists no categories: give annotations with the model's classes"
            )
        low, high = min(self.by_label), max(self.by_label)
        wrong = [label for label in labels if not low <= label <= high]
        if wrong and not self.named:
            raise self._foreign(wrong[0])

    def check_any(self, labels: set[int]) -> None:
        """Refuse labels none of which has a category."""
        if labels and not self.named and not labels & self.by_label.keys():
            raise self._foreign(min(labels))

    def _foreign(self, label: int) -> DataError:
        instead = "" if self.other is None else f", or --labels {self.other}"
        numbers = self.by_label
        return DataError(
            f"the model gives label {label}, but '{self.data.name}' has {len(numbers)} categories"
            f" numbered {min(numbers)} to {max(numbers)}: give the annotations that it was"
            f" trained for{instead}"
        )


def categories_of(
    data: CocoData, labels: LabelsAre, counted: bool, names: ClassNames | None
) -> Categories:
    """Return what labels stand for; ``counted`` are those of raw outputs, classes from 0.

    Counted ones are told by the model's ``names`` where those of all categories are among them.
    They are the order of the categories where there are as many, or no names. Raises DataError
    where names and numbers of classes differ.
    """
    ids = data.categories
    if not counted:
        order = dict(enumerate(ids, 1))
        by_label = {i: i for i in ids} if labels == "ids" else order
        return Categories(by_label, data, other=_OTHER[labels])
    called = data.class_names
    if called is not None and names is not None:
        if called.keys() <= set(names.names):
            by_label = {i: called[n] for i, n in enumerate(names.names) if n in called}
            return Categories(by_label, data, named=True)
        if len(called) != len(names.names):
            unknown = next(name for name in called if name not in names.names)
            raise DataError(
                f"'{data.name}' has the category '{unknown}', which is not among the"
                f" {len(names.names)} classes of {names.source} ('{names.names[0]}' to"
                f" '{names.names[-1]}'); give the annotations that the model was trained for, or"
                " its classes, so called, with --classes FILE"
            )
    return Categories(dict(enumerate(ids)), data)
