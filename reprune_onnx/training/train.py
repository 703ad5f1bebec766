"""`train`: pruning while training (Algorithm 2), from the file's values or from random ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from reprune_onnx.analyzer.copies import with_own_parameters
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.pruner.measure import cost
from reprune_onnx.training.around_tail import Finetuned, around_tail
from reprune_onnx.training.batch_norm import Inserted, fold_batch_norm, insert_batch_norm
from reprune_onnx.training.bridge import has_branches
from reprune_onnx.training.concurrent import Update, Whole
from reprune_onnx.training.finetune import conclude, facts_of, kept, tell_notes
from reprune_onnx.training.frozen import frozen_parameters
from reprune_onnx.training.initial import random_weights
from reprune_onnx.training.loop import begin, run_epochs
from reprune_onnx.training.outcome import pruned, scores_of_file
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.prepare import machine, prepare, start_fabric
from reprune_onnx.training.proven_cut import Decided, cut_and_prove
from reprune_onnx.training.run import Run
from reprune_onnx.training.same_outputs import check_alike
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.task import Task
from reprune_onnx.training.trainer import Epoch, Trainer, TrainWatch
from reprune_onnx.types import Choice, Model


def train(
    model: Model,
    task: Task,
    settings: TrainSettings,
    plan: PrunePlan,
    run: Run | None = None,
    from_random: bool = False,
) -> Finetuned:
    """Train ``model`` and prune it on the way; the result is cut, proven exact, and reported.

    Of the epochs after the last choice of channels the best is kept. ``from_random`` starts from
    random values in place of the file's. Raises UsageError for a plan that leaves no such epoch,
    what `finetune` raises, and VerificationError where the cut of the trained network cannot be
    proven.
    """
    plan.check(settings.epochs)
    settings, run = settings.with_optimizer("sgd"), run or Run()

    def up_to_the_tail(head: Model, task: Task) -> Finetuned:
        return _train(head, task, settings, plan, from_random, run)

    return around_tail(model, task, run, up_to_the_tail)


def _train(
    model: Model,
    task: Task,
    settings: TrainSettings,
    plan: PrunePlan,
    from_random: bool,
    run: Run,
) -> Finetuned:
    fabric = start_fabric(settings, free=task.custom is not None or has_branches(model))
    prepared = prepare(model, task, settings, fabric, run.progress)
    tell_notes(prepared, run, fabric)
    facts = facts_of(model, task, settings, prepared) | {"pruning": _plan(plan, from_random)}
    checkpoint = run.checkpoint(facts)
    state = None if checkpoint is None else checkpoint.load()
    log = run.log({**facts, "machine": machine(fabric)}, fabric.is_global_zero)
    source = with_own_parameters(written_out(model))
    if from_random:
        source = random_weights(source, np.random.default_rng(settings.seed))
    inserted: list[Inserted] = []
    frozen = frozen_parameters(source, settings.freeze)
    if settings.batch_norm == "insert":
        source, inserted = insert_batch_norm(source, prepared.feed, fabric, frozen)
    network = Whole.of(source, plan)
    watch = TrainWatch(run.progress, checkpoint, run.save_seconds)
    trainer = Trainer(fabric, settings, prepared.objective, prepared.feed, watch, frozen)
    trainer.extra = _extra(network)
    if state is not None:
        _restore(network, state["extra"])
    judge = prepared.judge
    begin(trainer, network.narrow(prepared.outputs)[0], judge, state)

    def after_epoch(record: Epoch) -> None:
        record["macs"] = cost(network.graph, network.channels, network.keep).macs
        if plan.updates_after(trainer.epoch):
            record |= _update(network, trainer, prepared.outputs)
            trainer.extra = _extra(network)
        if trainer.epoch <= plan.prune_epochs:
            trainer.best = None  # only what has lost all that is to go can be written

    run_epochs(trainer, judge, run, log, after_epoch)
    trained = trainer.finish()
    network.take_in(trained, {})
    full = fold_batch_norm(network.full_model(), inserted) if inserted else network.full_model()
    result, report = cut_and_prove(model, full, _decided(network), run.progress)
    difference = check_alike(result, trained, run.input_shapes)
    outcome = pruned(trainer, judge, scores_of_file(result, prepared.outputs, judge))
    conclude(outcome, {"difference": difference, "achieved": report["achieved"]}, run, log)
    report["training"] = {"settings": facts["settings"], "pruning": facts["pruning"]}
    return Finetuned(result, log.as_json(), fabric.is_global_zero, kept(checkpoint), report)


def _update(network: Whole, trainer: Trainer, outputs: list[str] | None) -> Epoch:
    """Choose channels, and give the trainer the network that has only them."""
    start = time.perf_counter()
    memory = {
        kind: {k: v.cpu() for k, v in held.items()} for kind, held in trainer.memory().items()
    }
    network.take_in(trainer.module.cpu(), memory)
    update = network.update(trainer.epoch, trainer.settings.seed)
    trainer.adopt(*network.narrow(outputs))
    return {
        "coverage": network.coverage,
        "kept": _by_layer(network, update.kept),
        "regrown": _by_layer(network, update.regrown),
        "update_seconds": round(time.perf_counter() - start, 3),
    }


def _by_layer(network: Whole, numbers: Mapping[int, int]) -> dict[str, int]:
    return {
        g.producers[0].layer.name: numbers[g.id] for g in network.channels.groups if g.id in numbers
    }


def _decided(network: Whole) -> Decided:
    assert network.cuts is not None
    last = network.last
    choices, sources = ({}, {}) if last is None else (last.choices, last.sources)
    # what training did in place of these: the report tells the settings as they were used
    settings = replace(network.plan.settings, allocation="bn-gamma", recover="none")
    return Decided(settings, network.cuts.cuts, choices, sources)


def _extra(network: Whole) -> dict[str, Any]:
    """The entries of a checkpoint for the whole network."""
    return {
        "keep": torch.from_numpy(network.keep.copy()),
        "values": dict(network.values),
        "memory": {kind: dict(held) for kind, held in network.memory.items()},
        "coverage": dict(network.coverage),
        "last": None if network.last is None else _packed(network.last),
    }


def _packed(update: Update) -> dict[str, Any]:
    choices = {i: [torch.from_numpy(c.kept), c.coverage] for i, c in update.choices.items()}
    return {
        "kept": update.kept,
        "regrown": update.regrown,
        "choices": choices,
        "sources": dict(update.sources),
    }


def _unpacked(packed: Mapping[str, Any]) -> Update:
    choices = {i: Choice(kept.numpy(), rate) for i, (kept, rate) in packed["choices"].items()}
    return Update(packed["kept"], packed["regrown"], choices, packed["sources"])


def _plan(plan: PrunePlan, from_random: bool) -> dict[str, Any]:
    return {
        "prune_epochs": plan.prune_epochs,
        "interval": plan.interval,
        "regrow": plan.regrow,
        "from_random": from_random,
        "settings": plan.settings.as_report(),
    }


def _restore(network: Whole, extra: Mapping[str, Any]) -> None:
    network.keep = extra["keep"].numpy()
    network.values, network.memory = dict(extra["values"]), dict(extra["memory"])
    network.coverage = dict(extra["coverage"])
    network.last = None if extra["last"] is None else _unpacked(extra["last"])
