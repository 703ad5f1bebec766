"""Everything that is checked and made ready before the first epoch."""

from __future__ import annotations

import os
import platform
import warnings
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.note import Note
from reprune_onnx.training.augment import Views
from reprune_onnx.training.bridge import OnnxModule, torch_module
from reprune_onnx.training.check_labels import check_labels
from reprune_onnx.training.class_weights import class_weights
from reprune_onnx.training.examples import Examples, Subset, read_examples
from reprune_onnx.training.feed import Feed, ImageFeed, StreamFeed
from reprune_onnx.training.held_out import held_back, rest_of, spread
from reprune_onnx.training.judge import Judge, batches_of
from reprune_onnx.training.objective import Objective
from reprune_onnx.training.sampler import Sampler
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.settle_goal import Sample, beside_own_loss, settle_goal
from reprune_onnx.training.task import Task
from reprune_onnx.training.teacher import remembering
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Prepared:
    """``outputs`` are the tensors that the module computes; ``data`` are facts for the log.

    ``original`` is the model that teaches; ``notes`` are sentences about what was decided.
    """

    objective: Objective
    feed: Feed
    judge: Judge
    outputs: list[str] | None
    data: dict[str, Any]
    original: Model | None = None
    notes: tuple[Note, ...] = ()


def start_fabric(settings: TrainSettings, free: bool = False) -> Fabric:
    """The devices and processes: those of ``torchrun`` or ``fabric run`` where one started us.

    ``free``: some parameters may get no gradient, as with a loss of one's own.
    """
    world = int(os.environ.get("LOCAL_WORLD_SIZE", str(settings.devices)))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    several = world * nodes > 1
    if several:  # strides of 1x1 weights have two names for one layout; it says itself: no error
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=world,
            num_nodes=nodes,
            strategy=DDPStrategy(find_unused_parameters=free) if several else "auto",
            precision=_PRECISION[settings.precision],
        )
    except (RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--accelerator {settings.accelerator} --devices {world}: {reason}") from (
            error
        )
    fabric.launch()
    return fabric


def prepare(
    model: Model,
    task: Task,
    settings: TrainSettings,
    fabric: Fabric,
    progress: Progress | None = None,
) -> Prepared:
    """Read the data and check that it fits the model; DataError in one line where it does not.

    Ops that the bridge lacks are named here too, in a ModelError.
    """
    task.check(settings)
    graph_outputs = list(torch_module(model).output_names)
    if task.custom is not None and not isinstance(task.data, Dataset):
        return _prepare_stream(model, task, settings, fabric)
    if not isinstance(task.data, Dataset):
        raise DataError("a function that yields batches as data needs a loss: give --loss")
    if not isinstance(task.val, Dataset | None):
        raise DataError("--val is a function, but the data are images: give images as --val too")
    train = read_examples(task.data, progress)
    val = None if task.val is None else read_examples(task.val, progress)
    first = next(iter(train.batches(Sampler(len(train), 2).epoch(0)[:1], 0)))
    settled = settle_goal(model, task, settings, Sample(*first, task.data))
    goal = settled.goal
    check_labels(train, val, goal, task)
    split = _split(train, val, settings)
    train, said = split.train, split.said
    if goal is not None and task.class_weights is not None:
        weights = class_weights(task.class_weights, goal, train.targets(), task.data.classes)
        goal = goal.weighted(weights.to(fabric.device))
    n_outputs = len(graph_outputs) if task.custom is not None else None
    facts = {"name": train.name, "images": len(train), "labels": train.labelled}
    place = fabric.global_rank, fabric.world_size
    sampler = Sampler(len(train), settings.batch_size, *place, settings.seed)
    views = Views.of(settings.augment, task.data)
    classes = goal.ours.answering.size if goal is not None and goal.loss.right else None
    more = settings.workers, settings.mixup, classes
    feed = ImageFeed(train, sampler, views, fabric.device, *more)
    batches = batches_of(split.val, fabric, sampler.size // fabric.world_size, settings.workers)
    teacher = _on(settled.teacher, fabric)
    remembered = remembering(teacher, settings, fabric)
    objective = Objective(settings, goal, remembered, task.custom, n_outputs)
    judge = Judge(objective, fabric, batches, said, split.val.labelled)
    original, notes = task.teacher, settled.notes
    if teacher is not None and goal is not None and task.if_better and train.labelled:
        why = better_alone(judge, torch_module(model, settled.outputs).to(fabric.device), teacher)
        if why is not None:
            original, objective = None, replace(objective, teacher=None)
            judge, notes = replace(judge, objective=objective), (*notes, why)
    # The original knows the labels of its own training images: what is like it seems right there.
    judge = replace(judge, by_loss=val is None and objective.teacher is not None)
    facts |= {"steps": feed.steps, "measured_on": said}
    return Prepared(objective, feed, judge, settled.outputs, facts, original, notes)


def better_alone(judge: Judge, student: OnnxModule, teacher: OnnxModule) -> Note | None:
    """Why the teacher is not needed: the student is better on labelled images; else None."""
    goal = judge.objective.goal
    if not judge.labelled or goal is None or goal.its is None:
        return None
    alone = replace(judge.objective, teacher=None)
    of_teacher = replace(alone, goal=replace(goal, ours=goal.its))
    ours = replace(judge, objective=alone)(student)
    theirs = replace(judge, objective=of_teacher)(teacher)
    if not judge.better(ours, theirs):
        return None
    return Note(
        f"the original does not teach: on {judge.images} it has {judge.said(theirs)}, the file as"
        f" given {judge.said(ours)} (with --distill ORIGINAL it does)"
    )


def _on(teacher: OnnxModule | None, fabric: Fabric) -> OnnxModule | None:
    return None if teacher is None else teacher.to(fabric.device)


@dataclass(frozen=True)
class _Split:
    """The examples to train on, those to measure on, and the name of the latter."""

    train: Examples
    val: Examples
    said: str


def _split(train: Examples, val: Examples | None, settings: TrainSettings) -> _Split:
    if val is not None:
        return _Split(train, val, f"{len(val)} images of {val.name}")
    if settings.keep_epoch == "last":
        some = spread(len(train))
        said = f"{len(some)} of the training images themselves"
        return _Split(train, Subset(train, some), said)
    held = held_back(len(train), settings.seed)
    if held is None:
        said = f"the {len(train)} training images themselves, too few to hold some back"
        return _Split(train, train, said)
    said = f"{len(held)} of {len(train)} images of {train.name}, held back from training"
    return _Split(Subset(train, rest_of(len(train), held)), Subset(train, held), said)


def _prepare_stream(model: Model, task: Task, settings: TrainSettings, fabric: Fabric) -> Prepared:
    def stream(function: Any, other: str) -> StreamFeed:
        place = fabric.global_rank, fabric.world_size
        return StreamFeed.of(getattr(function, "__name__", other), function, fabric.device, place)

    if isinstance(task.val, Dataset):
        raise DataError("--val are images, but the data is a function: give a function as --val")
    teacher = None if task.teacher is None else beside_own_loss(model, task.teacher)
    objective = Objective(settings, None, _on(teacher, fabric), task.custom)
    feed = stream(task.data, "the data")
    facts: dict[str, Any] = {"name": feed.name}
    if task.val is not None:
        val = stream(task.val, "the --val data")
        said = f"{val.steps * val.world} batches of {val.name}"
    elif settings.keep_epoch == "last":
        val, said = feed, f"all {feed.steps * feed.world} training batches themselves"
    else:
        feed, held = feed.split()
        val = feed if held is None else held
        said = (
            f"the {feed.steps * feed.world} training batches themselves, too few to hold some back"
            if held is None
            else f"the last {held.steps * held.world} batches of {feed.name}, held back"
        )
    judge = Judge(objective, fabric, lambda _: val.epoch(0, 0), said)
    facts |= {"steps": feed.steps, "measured_on": said}
    return Prepared(objective, feed, judge, None, facts, task.teacher)


def machine(fabric: Fabric) -> dict[str, Any]:
    """The machine of the run and the versions of its software, for the log."""
    cuda = fabric.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(fabric.device) if cuda else platform.machine(),
        "kind": fabric.device.type,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning_fabric": version("lightning-fabric"),
    }
