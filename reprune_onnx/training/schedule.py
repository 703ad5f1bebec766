"""The learning rate of every step: a pure function of how far training has come."""

from __future__ import annotations

import math

from reprune_onnx.training.settings import TrainSettings


def learning_rate(settings: TrainSettings, highest: float, epoch: float) -> float:
    """The learning rate after ``epoch`` epochs (a fraction within one); it rises to ``highest``.

    >>> s = TrainSettings(epochs=10, warmup=2)
    >>> [round(learning_rate(s, 1.0, e), 3) for e in (0.5, 2, 6, 10)]
    [0.25, 1.0, 0.5, 0.0]
    >>> [learning_rate(TrainSettings(epochs=4, schedule="step"), 1.0, e) for e in (1, 2, 3)]
    [1.0, 0.1, 0.01]
    """
    if epoch < settings.warmup:
        return highest * epoch / settings.warmup
    if settings.schedule == "constant":
        return highest
    done = (epoch - settings.warmup) / max(1e-9, settings.epochs - settings.warmup)
    if settings.schedule == "cosine":
        return highest * (1 + math.cos(math.pi * min(1.0, done))) / 2
    passed = sum(epoch / settings.epochs >= m for m in settings.milestones)
    return highest / 10**passed
