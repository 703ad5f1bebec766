"""The learning rate that suits a network and its data, found by short trial runs.

A trial begins at the network as it is, takes a few steps at a rate that falls to 0 along half a
cosine, as training's own does, and is judged by the loss on the images that are measured on: where
it ends, or a quarter of the way there, whichever is less. A network that a recovery has fitted gets
worse at first at any rate, and only the way tells where the steps lead. Of rates a factor apart,
the largest is taken whose trial is not clearly worse than the best one: the training is many times
longer than a trial, and what a larger rate loses at first it regains when it falls. Where trials
improve the network and the next larger rate would spoil it, that is an edge, and one factor less is
taken. The network and what the optimizer remembers are as before afterwards.

How large a step a network bears differs by a factor of a hundred: weights that a folded
BatchNormalization has scaled, or whose outputs are normalised, or that a recovery has fitted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from reprune_onnx.errors import TrainingError
from reprune_onnx.training.judge import Judge
from reprune_onnx.training.trainer import Trainer, between

_FACTOR = 3.0
_STEPS = 16
_FIRST = {"sgd": 0.01, "adamw": 0.0003}
WORSE = 0.05  # of the smallest loss: what is above it by more is clearly worse
_WAY = 0.25  # the part of a trial's way that is judged beside its end
_TRIALS = 7  # at most, in one direction: the range is a factor of 2,000 either way


@dataclass(frozen=True)
class FoundRate:
    """The highest rate to train with, and why."""

    lr: float
    reason: str


def find_rate(trainer: Trainer, judge: Judge, worse: float = WORSE) -> FoundRate:
    """Try rates, a factor apart, around a middle one; the losses are on the images of ``judge``.

    A loss that is more than the share ``worse`` above the best one is clearly worse.
    """
    start = trainer.measured(judge)["val_loss"]
    snapshot = trainer.snapshot()
    losses: dict[float, float] = {}
    first = _FIRST[trainer.settings.optimizer]

    def loss_of(k: int) -> float:
        rate = float(f"{first * _FACTOR**k:.1g}")
        if rate not in losses:
            losses[rate] = _trial(trainer, judge, rate, snapshot)
            trainer.put_back(snapshot)
        return losses[rate]

    k = 0
    while k > -_TRIALS and (
        not math.isfinite(loss_of(k)) or loss_of(k) > _limit(loss_of(k - 1), worse)
    ):
        k -= 1
    while k < _TRIALS and loss_of(k + 1) <= _limit(min(losses.values()), worse):
        k += 1
    if min(losses.values()) < start - worse * abs(start) and loss_of(k + 1) > start:
        k -= 1
    lr = float(f"{first * _FACTOR**k:.1g}")
    shown = ", ".join(f"{rate:g}: {loss:.4g}" for rate, loss in sorted(losses.items()))
    reason = (
        f"the largest whose short trial was not clearly worse than the best (loss on these images"
        f" after each: {shown}; before: {start:.4g})"
    )
    return FoundRate(lr, reason)


def _limit(loss: float, worse: float) -> float:
    """The bound above which a loss is clearly worse than ``loss``."""
    return loss + worse * abs(loss)


def _trial(trainer: Trainer, judge: Judge, rate: float, start: Mapping[str, Tensor]) -> float:
    """The loss of a short run at ``rate`` from ``start``; infinite where it diverged."""
    batches = itertools.islice(trainer.feed.epoch(0, 0), _STEPS)
    n = min(_STEPS, trainer.feed.steps)
    trainer.module.train()
    try:
        for k, (x, target) in enumerate(batches):
            trainer.take_step(x, target, rate * (1 + math.cos(math.pi * (k + 0.5) / n)) / 2)
    except TrainingError:
        return math.inf
    end = judge(trainer.module)["val_loss"]
    trainer.module.load_state_dict(between(start, trainer.snapshot(), _WAY))
    losses = end, judge(trainer.module)["val_loss"]
    return min((loss for loss in losses if math.isfinite(loss)), default=math.inf)
