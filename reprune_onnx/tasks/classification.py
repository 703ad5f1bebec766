"""One class per image: how often the right one comes first, or among the first five."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.source import Answers
from reprune_onnx.tasks.tally import Scores


class ClassTally:
    """Scores (b, classes) against class numbers (b,).

    Of equal scores the lower class counts as the higher one; NaN counts as the lowest. ``first``
    and ``five`` name the shares of images whose class comes first, and among the first five (None:
    not measured).
    """

    def __init__(self, first: str = "top1", five: str | None = "top5") -> None:
        self.first, self.five = first, five
        self.n = self.classes = self.right = self.near = 0

    def add(self, answers: Answers, wanted: Answers) -> None:
        """Take in a batch."""
        score = answers[np.arange(len(wanted)), wanted][:, None]
        lower = np.arange(answers.shape[1]) < wanted[:, None]
        places = (~(answers <= score) | ((answers == score) & lower)).sum(axis=1)
        self.classes = answers.shape[1]
        self.n += len(wanted)
        self.right += int((places == 0).sum())
        self.near += int((places < 5).sum())

    def merge(self, other: ClassTally) -> None:
        """Take in another's counts."""
        self.classes = max(self.classes, other.classes)
        self.n += other.n
        self.right += other.right
        self.near += other.near

    def scores(self) -> Scores:
        """Percentages; None without images, and of the first five where there are fewer classes."""
        scores: Scores = {self.first: 100 * self.right / self.n if self.n else None}
        if self.five is not None:
            scores[self.five] = 100 * self.near / self.n if self.n and self.classes >= 5 else None
        return scores
