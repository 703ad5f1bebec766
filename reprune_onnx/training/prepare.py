"""Everything that is checked and made ready before the first epoch."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.training.augment import Views
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.examples import Examples, read_examples
from reprune_onnx.training.feed import Feed, ImageFeed, StreamFeed
from reprune_onnx.training.objective import Loss, Objective
from reprune_onnx.training.sampler import Sampler
from reprune_onnx.training.scores import logits_of
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Task:
    """What to train on, and towards what.

    ``data`` are images (labels, or a ``teacher``, say what they should give), or, with ``loss``, a
    function that yields batches ``(x, target)``. ``val`` are labelled images. ``teacher`` is the
    unpruned model. ``loss(outputs, target)`` takes the graph's outputs: a tensor, or a tuple.
    """

    data: Dataset | Callable[[], Iterable[Any]]
    val: Dataset | None = None
    teacher: Model | None = None
    loss: Loss | None = None


@dataclass(frozen=True)
class Prepared:
    """``outputs`` are the tensors that the module has to compute."""

    objective: Objective
    feed: Feed
    outputs: list[str] | None
    train: Examples | None
    val: Examples | None


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
    place = fabric.global_rank, fabric.world_size
    if task.loss is not None and not isinstance(task.data, Dataset):
        torch_module(model)
        name = getattr(task.data, "__name__", "the data")
        feed: Feed = StreamFeed.of(name, task.data, fabric.device, place)
        return Prepared(Objective(settings, custom=task.loss), feed, None, None, None)
    if not isinstance(task.data, Dataset):
        raise DataError("a function that yields batches as data needs a loss: give --loss")
    torch_module(model)
    train = read_examples(task.data, progress)
    val = None if task.val is None else read_examples(task.val, progress)
    first = next(iter(train.batches(Sampler(len(train), 2).epoch(0)[:1], 0)))[0]
    found = None if task.loss is not None else logits_of(model, first)
    outputs, classes = (None, None) if found is None else ([found[0]], found[1])
    _check_labels(train, val, classes, task)
    sampler = Sampler(len(train), settings.batch_size, *place, settings.seed)
    views = Views.of(settings.augment, task.data)
    more = settings.workers, settings.mixup, classes
    feed = ImageFeed(train, sampler, views, fabric.device, *more)
    teacher = None
    if task.teacher is not None:
        teacher = _teacher(task.teacher, first, classes).to(fabric.device)
    objective = Objective(settings, classes, teacher, task.loss)
    return Prepared(objective, feed, outputs, train, val)


def _teacher(original: Model, images: torch.Tensor, classes: int | None) -> torch.nn.Module:
    found = None if classes is None else logits_of(original, images)
    if classes is not None and (found is None or found[1] != classes):
        theirs = "no classes" if found is None else f"{found[1]} classes"
        raise DataError(f"--distill: the original has {theirs}, the model has {classes}")
    teacher = torch_module(original, None if found is None else [found[0]])
    return teacher.requires_grad_(False)


def _check_labels(train: Examples, val: Examples | None, classes: int | None, task: Task) -> None:
    if classes is None:
        if task.loss is None and task.teacher is None:
            raise DataError(
                "the model has no output (N, classes): give the original with --distill, or a"
                " --loss"
            )
        if val is not None:
            raise DataError("the model has no output (N, classes), so --val measures nothing")
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
    if val is not None and val.labels is None:
        raise DataError(f"{val.name} has no labels, so --val measures nothing")


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
