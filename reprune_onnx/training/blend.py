"""Between the file as given and what was trained: the average of their values.

θ(a) = (1 - a)·θ_given + a·θ_trained. Where few images are trained on, a point between is often
better than both (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022): what training
learned of the images and what it forgot of others do not change at the same pace along the line.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from reprune_onnx.training.judge import Judge
from reprune_onnx.training.trainer import Trainer, between

_SHARES = (0.25, 0.5, 0.75)  # of what was trained


def blend(trainer: Trainer, judge: Judge, given: Mapping[str, Tensor]) -> None:
    """Keep the best of some averages of ``given`` and the last epoch where it beats all epochs.

    ``given`` is the state that training began with. Integers of the state stay the last epoch's.
    """
    last = {key: value.clone() for key, value in trainer.averaged().items()}
    for share in _SHARES:
        trainer.module.load_state_dict(between(given, last, share))
        scores = judge(trainer.module)
        assert trainer.best is not None, "the start was measured"
        if judge.better(scores, trainer.best.scores):
            trainer.keep_as_best(scores, trainer.module.state_dict(), share)
    trainer.module.load_state_dict(last)
