"""Facts that are settled once from all labels of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reprune_onnx.data.source import Answers
from reprune_onnx.note import Note
from reprune_onnx.tasks import TaskKind
from reprune_onnx.tasks.kinds import Head, TargetReading, classes_of

if TYPE_CHECKING:
    from reprune_onnx.data.dataset import Dataset

_BATCH = 64


def reading_of(
    data: Dataset, task: TaskKind, first: tuple[Answers, Answers], head: Head, ignore: int | None
) -> tuple[TargetReading, list[Note]]:
    """The reading of the labels of ``data``, and notes on its assumptions.

    ``first`` are an output and the labels of the first images.

    Masks of a model of two classes that hold 0 and 255 only are black and white pictures: 255 is
    class 1, not the ignored value. Numbers with a maximum above 1.5 are images whose white is 255.
    """
    if task.labels.beside != "masks":
        return TargetReading(peak=255.0 if first[1].max(initial=0) > 1.5 else 1.0), []
    if ignore is not None:
        return TargetReading(ignore), []
    answers, _ = first
    if classes_of(answers, head) != 2 or not black_and_white(data):
        return TargetReading(ignore), []
    return TargetReading(white=True), [
        Note("the masks hold 0 and 255 only: 255 is taken as class 1")
    ]


def black_and_white(data: Dataset) -> bool:
    """Whether all masks hold 0 and 255 only, and 255 somewhere; looks no further than it must."""
    white = False
    for batch in data.source.batches(_BATCH):
        for mask in () if batch.y is None else batch.y:
            if not np.isin(mask, (0, 255)).all():
                return False
            white = white or bool((np.asarray(mask) == 255).any())
    return white
