"""The outcome of a training, measured on the file that is written and told in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.judge import Judge, Scores
from reprune_onnx.training.trainer import Best, Trainer
from reprune_onnx.types import Model


@dataclass(frozen=True)
class Outcome:
    """The scores of the written file, and how they compare with those of the file as given.

    The file holds ``epoch`` by ``share``, and for the rest the values as given.
    """

    epoch: int
    start: Scores
    scores: Scores
    line: str
    share: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """The fields of the outcome in the log."""
        return {
            "kept_epoch": self.epoch,
            "kept_share": self.share,
            "scores": self.scores,
            "said": self.line,
        }


def scores_of_file(written: Model, outputs: Sequence[str] | None, judge: Judge) -> Scores:
    """The scores that ``judge`` gives the very file that is written."""
    return judge(torch_module(written, outputs).to(judge.fabric.device))


def finetuned(trainer: Trainer, judge: Judge, scores: Scores) -> Outcome:
    """The outcome of fine-tuning: where no epoch is better, the file as given is written."""
    start, best = trainer.facts["start"], _best(trainer)
    better = judge.better(scores, start)
    if trainer.settings.keep_epoch == "best" and (best.epoch == 0 or not better):
        others = [{k: e[k] for k in start} for e in trainer.history]
        tops = max(others, key=judge.key) if others else start
        teach = "" if trainer.objective.teacher is not None else "--distill ORIGINAL, "
        line = (
            f"no epoch was better than the file as given ({judge.said(start)}, the best epoch"
            f" {judge.said(tops)}), so OUT holds the values as given: try {teach}more images, or"
            " another --lr"
        )
        return Outcome(0, start, start, line)
    line = (
        f"OUT holds epoch {best.epoch}{_blended(best)}: {judge.said(scores)}, measured on the"
        f" written file (as given: {judge.said(start)}{'' if better else ', which was better'})"
    )
    return Outcome(best.epoch, start, scores, line, best.share)


def pruned(trainer: Trainer, judge: Judge, scores: Scores) -> Outcome:
    """The outcome of pruning while training, of an epoch after the last choice of channels."""
    start, best = trainer.facts["start"], _best(trainer)
    worse = "" if judge.better(scores, start) else ", which was better"
    line = (
        f"OUT holds epoch {best.epoch}: {judge.said(scores)},"
        f" measured on the written file (before pruning: {judge.said(start)}{worse})"
    )
    return Outcome(best.epoch, start, scores, line)


def _blended(best: Best) -> str:
    """A phrase on the share of the values that is still the given file's."""
    given = f"{1 - best.share:.0%}".replace("%", " %")
    return "" if best.share == 1 else f" averaged with {given} of the file as given"


def _best(trainer: Trainer) -> Best:
    assert trainer.best is not None, "every run measures at least its last epoch"
    return trainer.best
