"""Options that `finetune` and `train` share, and what both do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reprune_onnx.errors import UsageError

if TYPE_CHECKING:
    from reprune_onnx.cli.teacher import Teacher
    from reprune_onnx.data.dataset import Dataset
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.report.files import Destination
    from reprune_onnx.training.around_tail import Finetuned
    from reprune_onnx.training.run import Run
    from reprune_onnx.training.settings import TrainSettings
    from reprune_onnx.training.task import Task
    from reprune_onnx.types import Model

Data = Annotated[
    str,
    typer.Option(
        metavar="DATA",
        help="Training images: FILE.npz, FILE.npz:x_name,y_name, a folder or .tar of images whose"
        " sub-folders are the labels, or package.module:function. Of other tasks labels are y in a"
        " .npz, masks/ beside images/, or a .csv or .json beside the images.",
    ),
]
Val = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="Measured before the first epoch and after each, to keep the best; default: a tenth of"
        " --data, held back. With --distill it needs no labels; with --loss it is a function.",
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="The model to write.")]
Epochs = Annotated[int, typer.Option(metavar="N", help="Passes over the training images.")]
Distill = Annotated[
    str | None,
    typer.Option(metavar="ORIGINAL", help="Learn the unpruned model's answers; no labels needed."),
]
DistillAuto = Annotated[
    str,
    typer.Option(
        metavar="ORIGINAL|auto|none",
        help="Learn the unpruned model's answers, with or without labels. auto finds that model in"
        " the report beside MODEL, or takes MODEL itself where it is pruned first; none learns from"
        " labels alone.",
    ),
]
LossName = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="NAME|MODULE:FUNCTION",
        help="Of regression mse (default), l1 or smooth-l1; of all, loss(outputs, target) of your"
        " own. Without --task, DATA is then a function that yields batches (x, target).",
    ),
]
TaskName = Annotated[
    Literal["classification", "semantic-segmentation", "regression", "multi-label"] | None,
    typer.Option(
        "--task",
        help="What the model does, as evaluate --task has it: what labels are, the loss, and what"
        " decides which epoch is kept. Default: classification.",
    ),
]
ClassWeights = Annotated[
    str | None,
    typer.Option(
        metavar="W,W,…|FILE|balanced",
        help="What each class counts for in the loss of labels; balanced: by how often the training"
        " labels have it. Of several labels: what its presence counts for.",
    ),
]
IgnoreIndex = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Value of a mask that does not count; default: 255, and all below 0."
    ),
]
BatchSize = Annotated[int, typer.Option(metavar="N", help="Images per step, of all processes.")]
OptimizerChoice = Annotated[
    Literal["auto", "sgd", "adamw"],
    typer.Option(
        "--optimizer",
        help="What takes the steps; auto: AdamW in finetune where most layers are matrices, no"
        " BatchNormalization is there and the rate is found, else SGD.",
    ),
]
Lr = Annotated[
    str,
    typer.Option(
        metavar="RATE|auto",
        help="The highest learning rate; auto finds one by short trials, and prints it.",
    ),
]
ClipNorm = Annotated[
    float,
    typer.Option(
        "--clip-norm",
        "--clip",
        metavar="NORM",
        help="Gradients longer than this are shortened to it; 0 for none.",
    ),
]
Momentum = Annotated[float, typer.Option(help="Of SGD; of AdamW, the first beta.")]
WeightDecay = Annotated[float, typer.Option(help="On all parameters.")]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Keep the values of tensors, or of nodes' tensors, whose name matches; repeatable.",
    ),
]
FreezeBn = Annotated[
    bool,
    typer.Option(
        "--freeze-bn",
        help="Keep BatchNormalization's running statistics, and normalise with them; its scale and"
        " shift train on.",
    ),
]
KeepEpoch = Annotated[
    Literal["best", "last"],
    typer.Option(
        help="Write the best epoch that was measured, the start included; or the last, with nothing"
        " held back from --data."
    ),
]
Patience = Annotated[
    int,
    typer.Option(metavar="N", help="End after N epochs without a better one; 0 for never."),
]
ScheduleName = Annotated[
    Literal["cosine", "step", "constant"],
    typer.Option(help="Of the learning rate: half a cosine to 0, or a tenth from each milestone."),
]
Milestones = Annotated[
    str, typer.Option(metavar="A,B,…", help="Shares of the epochs, for --schedule step.")
]
Warmup = Annotated[
    float, typer.Option(metavar="EPOCHS", help="Epochs in which the learning rate rises from 0.")
]
LabelSmoothing = Annotated[float, typer.Option(metavar="SHARE", help="Spread over all classes.")]
Mixup = Annotated[float, typer.Option(metavar="ALPHA", help="Mix pairs of images; 0 for none.")]
Ema = Annotated[
    float, typer.Option(metavar="DECAY", help="Keep averaged weights, such as 0.999; 0 for none.")
]
AugmentName = Annotated[
    Literal["none", "flip", "crop", "crop-flip", "resized-crop"],
    typer.Option(help="Random views of the training images. Flips mirror left and right."),
]
DistillWeight = Annotated[
    float,
    typer.Option(metavar="SHARE", help="Of the original's answers in the loss beside labels."),
]
Temperature = Annotated[float, typer.Option(help="That softens the answers of a classifier.")]
BatchNorm = Annotated[
    Literal["keep", "insert"],
    typer.Option(help="insert: train folded layers with a BatchNormalization, folded at the end."),
]
NoSync = Annotated[
    bool,
    typer.Option("--no-sync-batch-norm", help="Several processes: statistics of each one's own."),
]
PrecisionName = Annotated[
    Literal["fp32", "bf16", "fp16"], typer.Option(help="fp16 and bf16 are mixed precision.")
]
Accelerator = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
Devices = Annotated[
    int, typer.Option(metavar="N", help="Processes on this machine; torchrun's own where it runs.")
]
Workers = Annotated[
    int, typer.Option(metavar="N", help="Processes that decode images which do not fit in memory.")
]
Seed = Annotated[int, typer.Option(help="Of the order, the views, and the random choices.")]
TensorBoard = Annotated[
    Path | None, typer.Option("--tensorboard", metavar="DIR", help="A log for TensorBoard.")
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Begin anew where an interrupted run left a checkpoint.")
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing OUT.")]


def train_settings(options: Mapping[str, Any]) -> TrainSettings:
    """The settings whose names are those of options, given as in a command's ``context.params``."""
    from reprune_onnx.training.settings import TrainSettings

    own = {f.name: options[f.name] for f in fields(TrainSettings) if f.name in options}
    own["milestones"] = _milestones(options["milestones"])
    own["sync_batch_norm"] = not options["no_sync_batch_norm"]
    own["freeze"] = tuple(options["freeze"] or ())
    own["lr"] = _rate(options["lr"])
    return TrainSettings(**own)


def _rate(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # auto, or what the settings refuse


def _milestones(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--milestones '{text}' is not numbers such as 0.5,0.75") from error


@dataclass(frozen=True)
class Sources:
    """What is read: training and validation data, the teacher, the loss, and how."""

    data: str
    val: str | None
    teacher: Teacher
    reading: Reading
    options: Mapping[str, Any]


def read_task(model: Model, sources: Sources, shapes: dict[str, tuple[int, ...]]) -> Task:
    """Open the data for the model's input; ``sources.options`` are a command's parameters."""
    from reprune_onnx.activations.opened import Wanted, open_for
    from reprune_onnx.printable import printable
    from reprune_onnx.tasks import CLASSIFICATION, TASKS

    named, given = sources.options["task"], sources.options["loss"]
    teacher = sources.teacher
    own = is_function(given)
    what: dict[str, Any] = {
        "kind": named,
        "class_weights": sources.options["class_weights"],
        "ignore": sources.options["ignore_index"],
    }
    if own and named is None:
        data, loss = _function("--data", sources.data), _function("--loss", given)
        own_val = None if sources.val is None else _function("--val", sources.val)
        from reprune_onnx.training.task import Task  # PyTorch, once the rest is known to be fine

        return Task(data, own_val, teacher.model, loss, **what)
    labels = TASKS.get(named, CLASSIFICATION).labels
    if teacher.model is not None:
        labels = labels.where_they_fit()

    judge = None if teacher.model is None else teacher.model.proto

    def dataset(spec: str, split: Literal["train", "test"]) -> Dataset:
        wanted = Wanted(spec, sources.reading, labels, split)
        opened = open_for(model.proto, wanted, shapes, judge)
        if opened.unused is not None:
            typer.echo(f"labels are not used: {printable(opened.unused)}", err=True)
        return opened

    loss = _function("--loss", given) if own else given
    val = None if sources.val is None else dataset(sources.val, "test")
    train = dataset(sources.data, "train")
    from reprune_onnx.training.task import Task

    return Task(train, val, teacher.model, loss, if_better=bool(teacher.told), **what)


def is_function(loss: str | None) -> bool:
    """Whether ``--loss`` is MODULE:FUNCTION, not the name of a loss."""
    return loss is not None and ":" in loss


def _function(option: str, spec: str) -> Callable[..., Any]:
    from reprune_onnx.data.loader import open_loader

    if ":" not in spec:
        raise UsageError(
            f"{option} '{spec}' is not MODULE:FUNCTION: with a --loss of your own, --data and --val"
            " are functions that yield batches (x, target); or name what the model does with --task"
        )
    function: Callable[..., Iterable[Any]] = open_loader(spec).function
    return function


def destination(model: Path, out: Path, report: Path, force: bool) -> Destination:
    """Where OUT and what lies beside it goes; an interrupted run may be gone on with."""
    from reprune_onnx.report.files import Destination

    going_on = out.with_name(f"{out.stem}.checkpoint.pt").exists() and not out.exists()
    return Destination.of(model, out, report, force=force or going_on, dry_run=False)


def print_notes(task: Task, teacher: Teacher | None = None) -> None:
    """Say what the data is, what is done to it, and who teaches that was not asked for."""
    from reprune_onnx.data.dataset import Dataset
    from reprune_onnx.printable import printable

    for data in (task.data, task.val):
        for note in data.notes if isinstance(data, Dataset) else ():
            typer.echo(f"note: {printable(note)}")
    if teacher is not None and teacher.told:
        typer.echo(printable(teacher.told))


def print_epoch(record: dict[str, Any]) -> None:
    """One line per epoch."""
    parts = [f"epoch {record['epoch']:>3}", f"loss {record['loss']:.4f}"]
    if record.get("train_top1") is not None:
        parts.append(f"train {record['train_top1']:.2f} %")
    parts.append(record["said"])
    if "macs" in record:
        parts.append(f"{record['macs']:,} MACs")
    parts.append(f"{record['seconds']:.1f} s")
    typer.echo("  ".join(parts))


def write(result: Finetuned, run: Run, files: Destination) -> None:
    """Write the model, and the report of a pruning; then the checkpoint has done its work."""
    from reprune_onnx.model import stage

    if not result.main or run.out is None:
        return
    with files.files() as together:
        stage(result.model, run.out, together)
        if result.report is not None:
            files.stage_report(result.report, together)
        together.commit()
    for checkpoint in result.checkpoints:
        checkpoint.delete()
