"""`finetune`: train a model's values; the graph stays as it is."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from lightning_fabric import Fabric

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS, MATRIX_PRODUCTS
from reprune_onnx.training.around_tail import Finetuned, around_tail
from reprune_onnx.training.batch_norm import Inserted, fold_batch_norm, insert_batch_norm
from reprune_onnx.training.blend import blend
from reprune_onnx.training.bridge import has_branches, torch_module, write_back
from reprune_onnx.training.checkpoint import Checkpoint
from reprune_onnx.training.frozen import frozen_parameters
from reprune_onnx.training.log import RunLog
from reprune_onnx.training.loop import begin, run_epochs
from reprune_onnx.training.outcome import Outcome, finetuned, scores_of_file
from reprune_onnx.training.prepare import Prepared, machine, prepare, start_fabric
from reprune_onnx.training.run import Run
from reprune_onnx.training.same_outputs import check_alike
from reprune_onnx.training.settings import OptimizerName, TrainSettings
from reprune_onnx.training.task import Task
from reprune_onnx.training.trainer import Trainer, TrainWatch
from reprune_onnx.types import Model

_LAYERS = CONVOLUTIONS, (*MATRIX_PRODUCTS, "Einsum")


def usual_optimizer(model: Model, settings: TrainSettings) -> OptimizerName:
    """The optimizer that is used by default.

    SGD where BatchNormalization is in the file, or is put in, and where most layers are
    convolutions, whose BatchNormalization an exporter folds away. AdamW in networks of matrices, as
    perceptrons and transformers are, whose layers have gradients of very different sizes.
    """
    ops = Counter(op.type for op in Graph(written_out(model)).ops)
    normalized = bool(ops["BatchNormalization"]) or settings.batch_norm == "insert"
    convolutions, matrices = (sum(ops[name] for name in names) for names in _LAYERS)
    return "sgd" if normalized or convolutions > matrices else "adamw"


def finetune(
    model: Model, task: Task, settings: TrainSettings, run: Run | None = None
) -> Finetuned:
    """Train ``model`` on ``task``; the result is the same graph with other numbers.

    A run that was killed goes on from its checkpoint and ends with the same values. Raises
    DataError and ModelError before the first epoch where data and model do not go together, and
    TrainingError where the loss is not finite.
    """
    settings, run = settings.with_optimizer(usual_optimizer(model, settings)), run or Run()
    fabric = start_fabric(settings, free=task.custom is not None or has_branches(model))

    def up_to_the_tail(head: Model, task: Task) -> Finetuned:
        return fit(head, task, settings, fabric, run)

    return around_tail(model, task, run, up_to_the_tail)


def fit(model: Model, task: Task, settings: TrainSettings, fabric: Fabric, run: Run) -> Finetuned:
    """`finetune` in processes that were started before."""
    prepared = prepare(model, task, settings, fabric, run.progress)
    tell_notes(prepared, run, fabric)
    facts = facts_of(model, task, settings, prepared)
    checkpoint = run.checkpoint(facts)
    state = None if checkpoint is None else checkpoint.load()
    log = run.log({**facts, "machine": machine(fabric)}, fabric.is_global_zero)
    source = model
    inserted: list[Inserted] = []
    frozen = frozen_parameters(model, settings.freeze)
    if settings.batch_norm == "insert":
        source, inserted = insert_batch_norm(model, prepared.feed, fabric, frozen)
    judge = prepared.judge
    watch = TrainWatch(run.progress, checkpoint, run.save_seconds)
    trainer = Trainer(fabric, settings, prepared.objective, prepared.feed, watch, frozen)
    begin(trainer, torch_module(source, prepared.outputs), judge, state)
    run_epochs(trainer, judge, run, log)
    if settings.keep_epoch == "best":
        blend(trainer, judge, torch_module(source, prepared.outputs).state_dict())
    final = trainer.finish()
    trained = write_back(source, final)
    if inserted:
        trained = fold_batch_norm(trained, inserted)
    difference = check_alike(trained, final, run.input_shapes)
    outcome = finetuned(trainer, judge, scores_of_file(trained, prepared.outputs, judge))
    if outcome.epoch == 0:
        trained = model
    conclude(outcome, {"difference": difference}, run, log)
    return Finetuned(trained, log.as_json(), fabric.is_global_zero, kept(checkpoint))


def conclude(outcome: Outcome, result: dict[str, Any], run: Run, log: RunLog) -> None:
    """Write down what came of a run, and tell it."""
    log.result = {**result, **outcome.as_json()}
    log.write()
    if run.on_line is not None and log.main:
        run.on_line(outcome.line)


def kept(checkpoint: Checkpoint | None) -> tuple[Checkpoint, ...]:
    """The checkpoints of a run that had one, or none."""
    return () if checkpoint is None else (checkpoint,)


def _digest(model: Model) -> str:
    """The hash of a model that was not read from a file."""
    return hashlib.sha256(model.proto.SerializeToString(deterministic=True)).hexdigest()


def facts_of(
    model: Model, task: Task, settings: TrainSettings, prepared: Prepared
) -> dict[str, Any]:
    """The facts that decide the result of a run."""
    return {
        "source": _told(model),
        "teacher": None if prepared.original is None else _told(prepared.original),
        "settings": settings.as_report(),
        "data": prepared.data,
        "task": task.as_report(),
    }


def tell_notes(prepared: Prepared, run: Run, fabric: Fabric) -> None:
    """Say what was assumed of labels, and decided."""
    if run.on_line is not None and fabric.is_global_zero:
        for note in prepared.notes:
            run.on_line(note)


def _told(model: Model) -> dict[str, str]:
    return {"path": str(model.path or ""), "sha256": model.sha256 or _digest(model)}
