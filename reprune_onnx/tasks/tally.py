"""Tallies that measure answers batch by batch, and the number that says which model is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from reprune_onnx.data.source import Answers

Scores = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """The number ``key`` of a tally's scores that decides between two models, and its name.

    >>> Measure("rmse", "RMSE", higher=False).better({"rmse": 0.1}, {"rmse": 0.2})
    True
    """

    key: str
    title: str
    higher: bool = True
    unit: str = ""

    def rank(self, scores: Scores) -> float:
        """The number such that more is better; −∞ where it was not measured, or is not finite."""
        value = scores.get(self.key)
        if value is None or not math.isfinite(value):
            return -math.inf
        return float(value if self.higher else -value)

    def better(self, a: Scores, b: Scores) -> bool:
        """Whether scores ``a`` are better than ``b``; what was not measured is never better."""
        return self.rank(a) > self.rank(b)

    def said(self, scores: Scores) -> str:
        """The number in words: ``mean IoU 71.20 %``."""
        value = scores.get(self.key)
        if value is None:
            return f"{self.title} –".strip()
        text = f"{value:.2f}" if self.unit == " %" else f"{value:.4g}"
        return f"{self.title} {text}{self.unit}".strip()


class Tally(Protocol):
    """Sums over batches; those of several processes are merged."""

    def add(self, answers: Answers, wanted: Answers) -> None:
        """Take in a batch: what a model gave, and what it should have given."""

    def merge(self, other: Any) -> None:
        """Take in what a tally of the same kind took in."""

    def scores(self) -> Scores:
        """The measures; None for those that the data does not allow."""
