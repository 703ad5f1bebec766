"""`reprune-onnx train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reprune_onnx.cli import training as t
from reprune_onnx.cli.declared import REQUIRED, first, with_settings
from reprune_onnx.cli.options import Force, ModelArgument, Quiet
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.settings import TrainSettings


@first(
    *("data", "sparsity", "epochs", "lr", "out", "val", "prune_epochs", "distill", "preprocess"),
    *("task", "init"),
)
@with_settings(of=t.TaskOptions, into="asked")
@with_settings("sparsity", into="target", sparsity=REQUIRED)
@with_settings("prune_epochs", "interval", "regrow", of=PrunePlan, into="plan", prune_epochs=None)
@with_settings(
    *("linkage", "tie_break", "residual", "norm_statistics", "include", "exclude"),
    *("min_channels", "round_to"),
    into="choice",
)
@with_settings(of=TrainSettings, into="training", epochs=160, batch_size=256, lr="0.1")
@with_settings("preprocess", "classes", "skip_broken", into="reading")
@with_settings("input_shapes", into="sizes")
def command(
    context: typer.Context,
    model: ModelArgument,
    asked: dict[str, Any],
    target: dict[str, Any],
    out: t.Out,
    plan: dict[str, Any],
    choice: dict[str, Any],
    training: dict[str, Any],
    reading: dict[str, Any],
    sizes: dict[str, Any],
    init: Annotated[
        Literal["file", "random"],
        typer.Option(help="First values: those of the file, or random ones."),
    ] = "file",
    distill: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGINAL",
            help="Model whose answers are learned, beside labels or without any; default: none.",
        ),
    ] = None,
    tensorboard: t.TensorBoard = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Plot of the coverage rates over the epochs, as .png, .svg or .pdf.",
        ),
    ] = None,
    restart: t.Restart = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Prune while training (Algorithm 2 of the paper), then cut, prove and write the result."""
    from reprune_onnx.training.needs_torch import require

    require("train")
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.cli.teacher import Teacher
    from reprune_onnx.cli.typed import typed
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.model import load
    from reprune_onnx.report.figure import check_plot
    from reprune_onnx.report.files import report_path
    from reprune_onnx.settings import Settings
    from reprune_onnx.training.plot import plot_coverage

    settings = TrainSettings(**training)
    pruning = Settings(seed=settings.seed, **target, **choice, **sizes)
    if plan["prune_epochs"] is None:
        plan["prune_epochs"] = PrunePlan.default_end(settings.epochs, max(plan["interval"], 1))
    when = PrunePlan(pruning, **plan)
    when.check(settings.epochs)
    check_plot(plot)
    files = t.destination(model, out, report_path(out), force)
    source = load(model)
    files.protect(source.files)
    shapes = sizes["input_shapes"]
    task, teacher = t.TaskOptions(**asked), Teacher.named(distill)
    wanted = t.read_task(source, task, teacher, Reading(**reading), shapes)
    if not quiet:
        t.print_notes(wanted)
    from reprune_onnx.training.run import Run
    from reprune_onnx.training.train import train

    with Bar(quiet) as bar:
        show, say = (None, None) if quiet else (t.print_epoch, typer.echo)
        words = tuple(typed(context))
        run = Run(out, tensorboard, restart, bar, show, say, shapes, command=words)
        result = train(source, wanted, settings, when, run, from_random=init == "random")
    t.write(result, run, files)
    if plot is not None and result.main:
        plot_coverage(result.log, plot)
