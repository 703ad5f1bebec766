"""`reprune-onnx finetune`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reprune_onnx.cli import training as t
from reprune_onnx.cli.declared import first, with_settings
from reprune_onnx.cli.options import Force, ModelArgument, Quiet
from reprune_onnx.training.settings import TrainSettings


@first(
    *("data", "epochs", "lr", "out", "val", "distill", "preprocess", "task", "sparsity"),
    *("macs_reduction", "rounds"),
)
@with_settings(of=t.TaskOptions, into="asked")
@with_settings(of=TrainSettings, into="training")
@with_settings("residual", "norm_statistics", into="coupling")
@with_settings("preprocess", "classes", "skip_broken", into="reading")
@with_settings("input_shapes", into="sizes")
def command(
    context: typer.Context,
    model: ModelArgument,
    asked: dict[str, Any],
    out: t.Out,
    training: dict[str, Any],
    coupling: dict[str, Any],
    reading: dict[str, Any],
    sizes: dict[str, Any],
    distill: Annotated[
        str,
        typer.Option(
            metavar="ORIGINAL|auto|none",
            help="Model whose answers are learned, beside labels or without any. auto is the one"
            " that the report beside MODEL names, or MODEL itself where it is pruned first; none is"
            " labels alone.",
        ),
    ] = "auto",
    sparsity: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Prune first, by this share of the prunable channels; default: do not.",
        ),
    ] = None,
    macs_reduction: Annotated[
        float | None,
        typer.Option(
            metavar="R", help="Prune first, by this share of the multiply-adds; default: do not."
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(metavar="N", help="Prune in N rounds, each followed by --epochs of training."),
    ] = 1,
    tensorboard: t.TensorBoard = None,
    restart: t.Restart = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a model on images, and keep its graph, names and opset.

    OUT.training.json is a log. The best epoch is written, which may be the model as given.
    """
    from reprune_onnx.training.needs_torch import require

    require("finetune")
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.cli.teacher import AUTO, NONE, Teacher
    from reprune_onnx.cli.typed import typed
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.errors import UsageError
    from reprune_onnx.model import load
    from reprune_onnx.report.files import report_path
    from reprune_onnx.settings import Settings
    from reprune_onnx.training.log import log_path

    settings = TrainSettings(**training)
    task = t.TaskOptions(**asked)
    only_loss = task.own_loss and task.task is None
    pruning = None
    if sparsity is not None or macs_reduction is not None:
        pruning = Settings(
            sparsity=sparsity,
            macs_reduction=macs_reduction,
            seed=settings.seed,
            calibration=None if only_loss else task.data,
            **coupling,
            **reading,
            **sizes,
        )
    elif rounds != 1:
        raise UsageError("--rounds prunes: give --sparsity or --macs-reduction too")
    beside = log_path(out) if pruning is None else report_path(out)
    files = t.destination(model, out, beside, force)
    source = load(model)
    files.protect(source.files)
    named = NONE if task.own_loss and distill == AUTO else distill
    teacher = Teacher.chosen(named, model, source, pruned_here=pruning is not None)
    shapes = sizes["input_shapes"]
    wanted = t.read_task(source, task, teacher, Reading(**reading), shapes)
    if not quiet:
        t.print_notes(wanted, teacher)
    from reprune_onnx.training.finetune import finetune
    from reprune_onnx.training.rounds import PruneRounds, finetune_in_rounds
    from reprune_onnx.training.run import Run

    with Bar(quiet) as bar:
        show, say = (None, None) if quiet else (t.print_epoch, typer.echo)
        words = tuple(typed(context))
        run = Run(out, tensorboard, restart, bar, show, say, shapes, command=words)
        if pruning is None:
            result = finetune(source, wanted, settings, run)
        else:
            result = finetune_in_rounds(source, wanted, settings, PruneRounds(pruning, rounds), run)
    t.write(result, run, files)
