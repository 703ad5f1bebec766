"""Several labels per image: mean average precision, and the decisions that two models share."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.source import Answers
from reprune_onnx.tasks.precision import average_precision
from reprune_onnx.tasks.tally import Scores


class LabelTally:
    """Scores (b, labels) against 0 and 1 (b, labels); NaN where a label is not known."""

    def __init__(self) -> None:
        self.given: list[Answers] = []
        self.wanted: list[Answers] = []

    def add(self, answers: Answers, wanted: Answers) -> None:
        """Take in a batch."""
        self.given.append(np.asarray(answers, np.float64))
        self.wanted.append(np.asarray(wanted, np.float64))

    def merge(self, other: LabelTally) -> None:
        """Take in another's batches."""
        self.given += other.given
        self.wanted += other.wanted

    def scores(self) -> Scores:
        """``ap`` of every label and ``mean_ap`` over those that occur, in percent."""
        given, wanted = np.concatenate(self.given), np.concatenate(self.wanted)
        each: list[float | None] = []
        for k in range(given.shape[1]):
            labelled = np.isfinite(wanted[:, k])
            ap = average_precision(given[labelled, k], wanted[labelled, k])
            each.append(None if ap is None else 100 * ap)
        measured = [ap for ap in each if ap is not None]
        return {"mean_ap": float(np.mean(measured)) if measured else None, "ap": each}


class DecisionTally:
    """Logits of a model against those of another, (b, labels) both."""

    def __init__(self) -> None:
        self.same = self.total = 0
        self.difference = 0.0

    def add(self, answers: Answers, wanted: Answers) -> None:
        """Take in a batch."""
        self.same += int(((answers > 0) == (wanted > 0)).sum())
        self.total += answers.size
        with np.errstate(over="ignore"):
            ours, other = (1 / (1 + np.exp(-np.asarray(a, np.float64))) for a in (answers, wanted))
        self.difference += float(np.abs(ours - other).sum())

    def merge(self, other: DecisionTally) -> None:
        """Take in another's sums."""
        self.same += other.same
        self.total += other.total
        self.difference += other.difference

    def scores(self) -> Scores:
        """Labels decided alike, in percent, and the mean difference of probabilities."""
        total = max(self.total, 1)
        return {
            "agreement": 100 * self.same / total,
            "agreement_difference": self.difference / total,
        }
