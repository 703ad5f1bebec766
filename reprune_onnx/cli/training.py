"""Options that `finetune` and `train` share, and what both do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reprune_onnx.errors import UsageError
from reprune_onnx.options import Option

if TYPE_CHECKING:
    from reprune_onnx.cli.teacher import Teacher
    from reprune_onnx.data.dataset import Dataset
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.report.files import Destination
    from reprune_onnx.training.around_tail import Finetuned
    from reprune_onnx.training.run import Run
    from reprune_onnx.training.task import Task
    from reprune_onnx.types import Model

Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Model to write.")]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        "--tensorboard",
        metavar="DIR",
        help="Folder for TensorBoard's logs; default: none are written.",
    ),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart",
        help="Begin anew, even where an interrupted run left a checkpoint to go on from.",
    ),
]


@dataclass(frozen=True)
class TaskOptions:
    """The data and the aim of a training; each field is an option of both commands."""

    data: Annotated[
        str,
        Option(
            "Training images: FILE.npz, FILE.npz:x_name,y_name, a folder or .tar of images whose"
            " sub-folders are the labels, or package.module:function. Tasks other than"
            " classification take labels from y in a .npz, from masks/ beside images/, or from a"
            " .csv or .json beside the images.",
            "DATA",
        ),
    ]
    val: Annotated[
        str | None,
        Option(
            "Validation images, on which the best epoch is chosen; default: a tenth of --data, held"
            " back. With --distill they need no labels; with a --loss function this is a function"
            " too.",
            "DATA",
        ),
    ] = None
    task: Annotated[
        Literal["classification", "semantic-segmentation", "regression", "multi-label"] | None,
        Option(
            "Task of the model, as in evaluate: it decides about labels, the loss and the best"
            " epoch. Default: classification."
        ),
    ] = None
    loss: Annotated[
        str | None,
        Option(
            "Loss: mse (default), l1 or smooth-l1 for regression; for any task a function"
            " loss(outputs, target) of your own. With that and no --task, DATA is a function that"
            " yields batches (x, target). Default: cross-entropy, binary for multi-label.",
            "NAME|MODULE:FUNCTION",
        ),
    ] = None
    class_weights: Annotated[
        str | None,
        Option(
            "Weight of each class in the loss: numbers, a file of them, or balanced, which is by"
            " rarity in the training labels. For multi-label, the weight of a label that is"
            " present. Default: all alike.",
            "W,W,…|FILE|balanced",
        ),
    ] = None
    ignore_index: Annotated[
        int | None,
        Option("Value of mask pixels to leave out; default: 255, and all below 0.", "N"),
    ] = None

    @property
    def own_loss(self) -> bool:
        """Whether the loss is MODULE:FUNCTION, not the name of one."""
        return self.loss is not None and ":" in self.loss


def read_task(
    model: Model,
    asked: TaskOptions,
    teacher: Teacher,
    reading: Reading,
    shapes: dict[str, tuple[int, ...]],
) -> Task:
    """Open the data for the model's input, and say what is trained towards."""
    from reprune_onnx.activations.opened import Wanted, open_for
    from reprune_onnx.printable import printable
    from reprune_onnx.tasks import CLASSIFICATION, TASKS

    what: dict[str, Any] = {
        "kind": asked.task,
        "class_weights": asked.class_weights,
        "ignore": asked.ignore_index,
    }
    loss: Any = asked.loss
    if asked.own_loss and asked.task is None:
        data, loss = _function("--data", asked.data), _function("--loss", loss)
        val = None if asked.val is None else _function("--val", asked.val)
        from reprune_onnx.training.task import Task  # PyTorch, once the rest is known to be fine

        return Task(data, val, teacher.model, loss, **what)
    labels = TASKS.get(asked.task or "", CLASSIFICATION).labels
    if teacher.model is not None:
        labels = labels.where_they_fit()

    judge = None if teacher.model is None else teacher.model.proto

    def dataset(spec: str, split: Literal["train", "test"]) -> Dataset:
        wanted = Wanted(spec, reading, labels, split)
        opened = open_for(model.proto, wanted, shapes, judge)
        if opened.unused is not None:
            typer.echo(f"labels are not used: {printable(opened.unused)}", err=True)
        return opened

    if asked.own_loss:
        loss = _function("--loss", asked.loss or "")
    validation = None if asked.val is None else dataset(asked.val, "test")
    train = dataset(asked.data, "train")
    from reprune_onnx.training.task import Task

    return Task(train, validation, teacher.model, loss, if_better=bool(teacher.told), **what)


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
