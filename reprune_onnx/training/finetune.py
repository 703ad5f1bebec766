"""`finetune`: train a model's values; the graph stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from reprune_onnx.training.alike import check_alike
from reprune_onnx.training.batch_norm import Inserted, fold_batch_norm, insert_batch_norm
from reprune_onnx.training.bridge import torch_module, write_back
from reprune_onnx.training.checkpoint import Checkpoint
from reprune_onnx.training.log import RunLog, log_path
from reprune_onnx.training.prepare import Prepared, Task, machine, prepare, start_fabric
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.trainer import Epoch, Trainer, Watch
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

_PLACES = ("accelerator", "devices", "workers")


@dataclass(frozen=True)
class Run:
    """Where a run leaves what it knows; nothing is written without ``out``.

    ``out`` names the model that will be written: the checkpoint and the JSON log lie beside it.
    ``restart`` ignores a checkpoint. ``on_epoch`` is called with every epoch's record. ``command``
    are the words that were typed, for the log.
    """

    out: Path | None = None
    tensorboard: Path | None = None
    restart: bool = False
    progress: Progress | None = None
    on_epoch: Callable[[Epoch], None] | None = None
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    write_log: bool = True
    save_seconds: float = 60.0
    command: tuple[str, ...] = ()

    def checkpoint(self, facts: Mapping[str, Any]) -> Checkpoint | None:
        """The checkpoint of this run, which is of no other; it may go on on other devices."""
        if self.out is None:
            return None
        settings = {k: v for k, v in facts["settings"].items() if k not in _PLACES}
        found = Checkpoint.of(self.out, {**facts, "settings": settings})
        if self.restart:
            found.delete()
        return found

    def part(self, k: int) -> Run:
        """Round ``k`` of this run: with a checkpoint of its own, and no log file of its own."""
        out = None if self.out is None else self.out.with_name(f"{self.out.stem}.round{k}.onnx")
        board = None if self.tensorboard is None else self.tensorboard / f"round{k}"
        return replace(self, out=out, tensorboard=board, write_log=False)

    def log(self, facts: dict[str, Any], main: bool) -> RunLog:
        """The log; of several processes only the ``main`` one writes."""
        facts = {"command": list(self.command) or None, **facts}
        if not main:
            return RunLog(facts)
        path = None if self.out is None or not self.write_log else log_path(self.out)
        return RunLog(facts, path, self.tensorboard)


@dataclass(frozen=True)
class Finetuned:
    """The trained model, the log, and the report of a pruning that was part of it.

    ``main``: this is the process that writes. ``checkpoints`` are to be deleted once it has.
    """

    model: Model
    log: dict[str, Any]
    main: bool = True
    checkpoints: tuple[Checkpoint, ...] = ()
    report: dict[str, Any] | None = None


def finetune(
    model: Model, task: Task, settings: TrainSettings, run: Run | None = None
) -> Finetuned:
    """Train ``model`` on ``task``; the result is the same graph with other numbers.

    A run that was killed goes on from its checkpoint and ends with the same values. Raises
    DataError and ModelError before the first epoch where data and model do not go together, and
    TrainingError where the loss is not finite.
    """
    fabric = start_fabric(settings, free=task.loss is not None)
    return fit(model, task, settings, fabric, run or Run())


def fit(model: Model, task: Task, settings: TrainSettings, fabric: Fabric, run: Run) -> Finetuned:
    """`finetune` in processes that were started before."""
    prepared = prepare(model, task, settings, fabric, run.progress)
    facts = facts_of(model, settings, prepared)
    checkpoint = run.checkpoint(facts)
    state = None if checkpoint is None else checkpoint.load()
    log = run.log({**facts, "machine": machine(fabric)}, fabric.is_global_zero)
    source = model
    inserted: list[Inserted] = []
    if settings.batch_norm == "insert":
        source, inserted = insert_batch_norm(model, prepared.feed, fabric)
    watch = Watch(run.progress, checkpoint, run.save_seconds)
    trainer = Trainer(fabric, settings, prepared.objective, prepared.feed, watch)
    module = torch_module(source, prepared.outputs)
    if state is None:
        trainer.adopt(module)
        trainer.save()
    else:
        trainer.resume(state, module)
        log.epochs.extend(trainer.history)
    while trainer.epoch < settings.epochs:
        record = trainer.train_epoch()
        if prepared.val is not None:
            record["val_top1"] = trainer.top1(prepared.val)
        trainer.history.append(record)
        log.add(record)
        if run.on_epoch is not None and fabric.is_global_zero:
            run.on_epoch(record)
        trainer.save()
    final = trainer.finish()
    trained = write_back(source, final)
    if inserted:
        trained = fold_batch_norm(trained, inserted)
    log.result["difference"] = check_alike(trained, final, run.input_shapes)
    log.write()
    return Finetuned(trained, log.as_json(), fabric.is_global_zero, kept(checkpoint))


def kept(checkpoint: Checkpoint | None) -> tuple[Checkpoint, ...]:
    """The checkpoints of a run that had one, or none."""
    return () if checkpoint is None else (checkpoint,)


def _digest(model: Model) -> str:
    """What tells a model from others that was not read from a file."""
    return hashlib.sha256(model.proto.SerializeToString(deterministic=True)).hexdigest()


def facts_of(model: Model, settings: TrainSettings, prepared: Prepared) -> dict[str, Any]:
    """What decides about the result of a run."""
    train = prepared.train
    data: dict[str, Any] = {"steps": prepared.feed.steps}
    if train is not None:
        data |= {"name": train.name, "images": len(train), "labels": train.labels is not None}
    return {
        "source": {"path": str(model.path or ""), "sha256": model.sha256 or _digest(model)},
        "settings": settings.as_report(),
        "data": data,
    }
