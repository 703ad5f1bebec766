"""The learning rate of every step: a pure function of how far training has come."""

from __future__ import annotations

import math

from reprune_onnx.training.settings import TrainSettings


def learning_rate(settings: TrainSettings, epoch: float) -> float:
    """The learning rate after ``epoch`` epochs (a fraction within one).

    >>> s = TrainSettings(epochs=10, lr=1.0, warmup=2)
    >>> [round(learning_rate(s, e), 3) for e in (0.5, 2, 6, 10)]
    [0.25, 1.0, 0.5, 0.0]
    >>> [learning_rate(TrainSettings(epochs=4, lr=1.0, schedule="step"), e) for e in (1, 2, 3)]
    [1.0, 0.1, 0.01]
    """
    if epoch < settings.warmup:
        return settings.lr * epoch / settings.warmup
    if settings.schedule == "constant":
        return settings.lr
    done = (epoch - settings.warmup) / max(1e-9, settings.epochs - settings.warmup)
    if settings.schedule == "cosine":
        return settings.lr * (1 + math.cos(math.pi * min(1.0, done))) / 2
    passed = sum(epoch / settings.epochs >= m for m in settings.milestones)
    return settings.lr / 10**passed
