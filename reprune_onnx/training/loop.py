"""From the first epoch to the last: the one loop of all ways to train.

The network is measured before the first epoch, as epoch 0, and after every epoch; the best is kept.
What a killed run knew is taken from its checkpoint, so that it goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reprune_onnx.training.bridge import OnnxModule
from reprune_onnx.training.judge import Judge
from reprune_onnx.training.log import RunLog
from reprune_onnx.training.rate import WORSE, find_rate
from reprune_onnx.training.run import Run
from reprune_onnx.training.trainer import Epoch, Trainer

AfterEpoch = Callable[[Epoch], None]
"""Called with the record of an epoch, which it may add to; it may adopt another module."""


def begin(
    trainer: Trainer,
    module: OnnxModule,
    judge: Judge,
    state: Mapping[str, Any] | None,
    worse: float = WORSE,
) -> None:
    """Make ready to train ``module``: measure it and find its learning rate, or go on.

    ``state`` is that of the checkpoint of a run that was interrupted, ``worse`` as in `find_rate`.
    """
    if state is not None:
        trainer.resume(state, module)
        return
    trainer.adopt(module)
    trainer.keep_as_best(trainer.measured(judge))
    assert trainer.best is not None
    trainer.facts["start"] = trainer.best.scores
    lr = trainer.settings.lr
    if lr == "auto":
        rate = find_rate(trainer, judge, worse)
        trainer.lr = rate.lr
        trainer.facts["lr"] = {"rate": rate.lr, "reason": rate.reason}
    else:
        trainer.lr = float(lr)
        trainer.facts["lr"] = {"rate": trainer.lr, "reason": "given by --lr"}
    trainer.save()


def run_epochs(
    trainer: Trainer, judge: Judge, run: Run, log: RunLog, after: AfterEpoch | None = None
) -> None:
    """Train to the last epoch, or until `patience` is over; the log has every epoch.

    ``after`` is called once an epoch is measured; where it makes ``trainer.best`` None, what was
    measured before counts no more.
    """
    log.facts |= trainer.facts
    log.epochs.extend(trainer.history)
    main = trainer.fabric.is_global_zero
    if main:
        _tell(trainer, judge, run)
    while trainer.epoch < trainer.settings.epochs and not _given_up(trainer):
        record = trainer.train_epoch()
        scores = trainer.measured(judge)
        record |= {**scores, "said": judge.said(scores)}
        last = trainer.settings.keep_epoch == "last"
        if last or trainer.best is None or judge.better(scores, trainer.best.scores):
            trainer.keep_as_best(scores)
        if after is not None:
            after(record)
        trainer.history.append(record)
        log.add(record)
        if run.on_epoch is not None and main:
            run.on_epoch(record)
        trainer.save()


def _given_up(trainer: Trainer) -> bool:
    patience, best = trainer.settings.patience, trainer.best
    return bool(patience) and best is not None and trainer.epoch - best.epoch >= patience


def _tell(trainer: Trainer, judge: Judge, run: Run) -> None:
    if run.on_line is None:
        return
    if trainer.epoch or trainer.step:
        run.on_line(f"goes on after step {trainer.step} of epoch {trainer.epoch + 1}")
    lr = trainer.facts["lr"]
    run.on_line(f"measured on {judge.images}")
    run.on_line(f"learning rate {lr['rate']:g}: {lr['reason']}")
    run.on_line(f"epoch   0  {judge.said(trainer.facts['start'])}  (the file as given)")
