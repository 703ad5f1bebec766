"""Everything that is checked and made ready before the first epoch."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.training.augment import Views
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.examples import Examples, Part, read_examples
from reprune_onnx.training.feed import Feed, ImageFeed, StreamFeed
from reprune_onnx.training.held_out import held_back, rest_of, spread
from reprune_onnx.training.judge import Judge, batches_of
from reprune_onnx.training.objective import Loss, Objective
from reprune_onnx.training.sampler import Sampler
from reprune_onnx.training.scores import logits_of, taught_tensors
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.training.teacher import remembering, teacher_of
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Task:
    """What to train on, and towards what.

    ``data`` are images (labels, or a ``teacher``, say what they should give), or, with ``loss``, a
    function that yields batches ``(x, target)``. ``val`` is of the same kind: what is measured on
    it decides which epoch is kept; without it a part of ``data`` is held back. ``teacher`` is the
    unpruned model; with ``if_better`` it teaches only where it is better on labelled images than
    the model that is trained. ``loss(outputs, target)`` takes the graph's outputs: a tensor, or a
    tuple.
    """

    data: Dataset | Callable[[], Iterable[Any]]
    val: Dataset | Callable[[], Iterable[Any]] | None = None
    teacher: Model | None = None
    loss: Loss | None = None
    if_better: bool = False


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
    notes: tuple[str, ...] = ()


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
    torch_module(model)
    if task.loss is not None and not isinstance(task.data, Dataset):
        return _prepare_stream(task, Objective(settings, custom=task.loss), fabric)
    if not isinstance(task.data, Dataset):
        raise DataError("a function that yields batches as data needs a loss: give --loss")
    if not isinstance(task.val, Dataset | None):
        raise DataError("--val is a function, but the data are images: give images as --val too")
    train = read_examples(task.data, progress)
    val = None if task.val is None else read_examples(task.val, progress)
    first = next(iter(train.batches(Sampler(len(train), 2).epoch(0)[:1], 0)))[0]
    logits = None if task.loss is not None else logits_of(model, first)
    outputs, classes = (None, None) if logits is None else ([logits[0]], logits[1])
    _check_labels(train, val, classes, task)
    teacher = None
    if task.teacher is not None:
        outputs = outputs or taught_tensors(model, first)
        teacher = teacher_of(task.teacher, first, classes).to(fabric.device)
    facts = {"name": train.name, "images": len(train), "labels": train.labels is not None}
    train, val, said = _split(train, val, settings)
    place = fabric.global_rank, fabric.world_size
    sampler = Sampler(len(train), settings.batch_size, *place, settings.seed)
    views = Views.of(settings.augment, task.data)
    more = settings.workers, settings.mixup, classes
    feed = ImageFeed(train, sampler, views, fabric.device, *more)
    batches = batches_of(val, fabric, sampler.size // fabric.world_size, settings.workers)
    objective = Objective(settings, classes, remembering(teacher, settings, fabric), task.loss)
    judge = Judge(objective, fabric, batches, said, objective.counts(val.labels is not None))
    original = task.teacher
    notes: tuple[str, ...] = ()
    if teacher is not None and task.if_better and _both_labelled(train, val):
        by_labels = replace(judge, objective=replace(objective, teacher=None))
        student = by_labels(torch_module(model, outputs).to(fabric.device))
        theirs = by_labels(teacher)
        if judge.better(student, theirs):
            original, judge, objective = None, by_labels, by_labels.objective
            notes = (
                f"the original does not teach: on {said} it has {judge.said(theirs)}, the file"
                f" as given {judge.said(student)} (with --distill ORIGINAL it does)",
            )
    facts |= {"steps": feed.steps, "measured_on": said}
    return Prepared(objective, feed, judge, outputs, facts, original, notes)


def _both_labelled(train: Examples, val: Examples) -> bool:
    return train.labels is not None and val.labels is not None


def _split(
    train: Examples, val: Examples | None, settings: TrainSettings
) -> tuple[Examples, Examples, str]:
    """What is trained on, what is measured on, and how the latter is called."""
    if val is not None:
        return train, val, f"{len(val)} images of {val.name}"
    if settings.keep_epoch == "last":
        some = spread(len(train))
        return train, Part(train, some), f"{len(some)} of the training images themselves"
    held = held_back(len(train), settings.seed)
    if held is None:
        said = f"the {len(train)} training images themselves, too few to hold some back"
        return train, train, said
    said = f"{len(held)} of {len(train)} images of {train.name}, held back from training"
    return Part(train, rest_of(len(train), held)), Part(train, held), said


def _prepare_stream(task: Task, objective: Objective, fabric: Fabric) -> Prepared:
    def stream(function: Any, other: str) -> StreamFeed:
        place = fabric.global_rank, fabric.world_size
        return StreamFeed.of(getattr(function, "__name__", other), function, fabric.device, place)

    if isinstance(task.val, Dataset):
        raise DataError("--val are images, but the data is a function: give a function as --val")
    feed = stream(task.data, "the data")
    facts: dict[str, Any] = {"name": feed.name}
    if task.val is not None:
        val = stream(task.val, "the --val data")
        said = f"{val.steps * val.world} batches of {val.name}"
    elif objective.settings.keep_epoch == "last":
        val, said = feed, f"all {feed.steps * feed.world} training batches themselves"
    else:
        feed, held = feed.split()
        val = feed if held is None else held
        said = (
            f"the {feed.steps * feed.world} training batches themselves, too few to hold some back"
            if held is None
            else f"the last {held.steps * held.world} batches of {feed.name}, held back"
        )
    judge = Judge(objective, fabric, lambda _: val.epoch(0, 0), said, None)
    facts |= {"steps": feed.steps, "measured_on": said}
    return Prepared(objective, feed, judge, None, facts)


def _check_labels(train: Examples, val: Examples | None, classes: int | None, task: Task) -> None:
    if classes is None:
        if task.loss is None and task.teacher is None:
            raise DataError(
                "the model has no output (N, classes): give the original with --distill, or a"
                " --loss"
            )
        return
    if train.labels is None and task.teacher is None:
        raise DataError(
            f"{train.name} has no labels: give labelled images, or the original with --distill"
        )
    for examples in (train, val):
        if examples is not None and examples.labels is not None:
            most = int(examples.labels.max())
            if most >= classes or (most < classes - 1 and examples is train):
                raise DataError(
                    f"{examples.name}: labels are 0 to {most}, but the model has {classes} classes,"
                    f" 0 to {classes - 1}; give data with the model's classes, or with --distill"
                    " name the images alone, as in FILE.npz:x,"
                )
    if val is not None and val.labels is None and task.teacher is None:
        raise DataError(
            f"{val.name} has no labels, so --val measures nothing: give labelled images, or the"
            " original with --distill"
        )


def machine(fabric: Fabric) -> dict[str, Any]:
    """What the run ran on, for the log."""
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
