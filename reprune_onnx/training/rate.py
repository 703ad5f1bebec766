"""The learning rate that suits a network and its data, found by short trial runs.

A trial begins at the network as it is, takes a few steps at a rate that falls to 0 along half a
cosine, as training's own does, and is judged by the loss on the images that are held back. Rates
are tried in steps of a factor, downhill from a middle one, until the loss rises on both sides; the
network and what the optimizer remembers are as before afterwards.

How large a step a network bears differs by a factor of a hundred: weights that a folded
BatchNormalization has scaled, or whose outputs are normalised, or that a recovery has fitted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from reprune_onnx.errors import TrainingError
from reprune_onnx.training.judge import Judge
from reprune_onnx.training.trainer import Trainer

_FACTOR = 3.0
_STEPS = 16
_FIRST = {"sgd": 0.01, "adamw": 0.0003}
_TRIALS = 7  # at most, in one direction: the range is a factor of 2,000 either way


@dataclass(frozen=True)
class FoundRate:
    """The highest rate to train with, why, and the loss after a trial of every rate."""

    lr: float
    reason: str
    trials: dict[float, float]


def find_rate(trainer: Trainer, judge: Judge) -> FoundRate:
    """Try rates until one gives a smaller loss on the images of ``judge`` than its neighbours."""
    start = trainer.measured(judge)["val_loss"]
    snapshot = trainer.snapshot()
    losses: dict[float, float] = {}
    first = _FIRST[trainer.settings.optimizer]

    def loss_of(k: int) -> float:
        rate = float(f"{first * _FACTOR**k:.1g}")
        if rate not in losses:
            losses[rate] = _trial(trainer, judge, rate)
            trainer.put_back(snapshot)
        return losses[rate]

    best = 0
    for step in (-1, 1):
        while abs(best) < _TRIALS and loss_of(best + step) < loss_of(best):
            best += step
        if best:
            break
    lr = float(f"{first * _FACTOR**best:.1g}")
    shown = ", ".join(f"{rate:g}: {loss:.4g}" for rate, loss in sorted(losses.items()))
    reason = (
        f"of short trials it left the smallest loss on these images ({shown}; before: {start:.4g})"
    )
    return FoundRate(lr, reason, losses)


def _trial(trainer: Trainer, judge: Judge, rate: float) -> float:
    """The loss after a short run at ``rate``; infinite where it diverged."""
    batches = itertools.islice(trainer.feed.epoch(0, 0), _STEPS)
    n = min(_STEPS, trainer.feed.steps)
    trainer.module.train()
    try:
        for k, (x, target) in enumerate(batches):
            trainer.take_step(x, target, rate * (1 + math.cos(math.pi * (k + 0.5) / n)) / 2)
    except TrainingError:
        return math.inf
    loss = judge(trainer.module)["val_loss"]
    return loss if math.isfinite(loss) else math.inf
