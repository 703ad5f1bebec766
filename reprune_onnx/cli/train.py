"""`reprune-onnx train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reprune_onnx.cli import training as t
from reprune_onnx.cli.options import (
    Classes,
    Exclude,
    Include,
    InputShape,
    ModelArgument,
    NormStatistics,
    Preprocess,
    Quiet,
    Residual,
    SkipBroken,
)


def command(
    context: typer.Context,
    model: ModelArgument,
    data: t.Data,
    sparsity: Annotated[
        float, typer.Option(metavar="S", help="Share of the prunable channels that go, in [0, 1).")
    ],
    out: t.Out,
    val: t.Val = None,
    epochs: t.Epochs = 160,
    prune_epochs: Annotated[
        int | None,
        typer.Option(metavar="T", help="The last epoch that prunes; default: 0.6 of the epochs."),
    ] = None,
    interval: Annotated[
        int, typer.Option(metavar="N", help="Epochs between two choices of channels.")
    ] = 2,
    regrow: Annotated[
        float,
        typer.Option(metavar="DELTA", help="Share of channels that may regrow at the start (δ₀)."),
    ] = 0.2,
    init: Annotated[
        Literal["file", "random"], typer.Option(help="Start from the file's values, or anew.")
    ] = "file",
    linkage: Annotated[
        Literal["ward", "single", "complete", "average"],
        typer.Option(help="How the clustering measures the distance between clusters."),
    ] = "ward",
    tie_break: Annotated[
        Literal["random", "max-l2", "min-l2"],
        typer.Option(help="Which of the filters that cover equally many clusters is kept."),
    ] = "random",
    residual: Residual = "keep",
    norm_statistics: NormStatistics = "lock",
    include: Include = None,
    exclude: Exclude = None,
    min_channels: Annotated[
        int, typer.Option(metavar="N", help="The least that any layer keeps.")
    ] = 1,
    round_to: Annotated[
        int | None,
        typer.Option(metavar="N", help="Kept channels of a layer become a multiple of N."),
    ] = None,
    distill: t.Distill = None,
    task: t.TaskName = None,
    loss: t.LossName = None,
    class_weights: t.ClassWeights = None,
    ignore_index: t.IgnoreIndex = None,
    batch_size: t.BatchSize = 256,
    optimizer: t.OptimizerChoice = "auto",
    lr: t.Lr = "0.1",
    clip_norm: t.ClipNorm = 1.0,
    momentum: t.Momentum = 0.9,
    weight_decay: t.WeightDecay = 5e-4,
    schedule: t.ScheduleName = "cosine",
    milestones: t.Milestones = "0.5,0.75",
    warmup: t.Warmup = 0.0,
    label_smoothing: t.LabelSmoothing = 0.0,
    mixup: t.Mixup = 0.0,
    ema: t.Ema = 0.0,
    augment: t.AugmentName = "none",
    distill_weight: t.DistillWeight = 0.9,
    temperature: t.Temperature = 4.0,
    batch_norm: t.BatchNorm = "keep",
    freeze: t.Freeze = None,
    freeze_bn: t.FreezeBn = False,
    patience: t.Patience = 0,
    keep_epoch: t.KeepEpoch = "best",
    no_sync_batch_norm: t.NoSync = False,
    precision: t.PrecisionName = "fp32",
    accelerator: t.Accelerator = "auto",
    devices: t.Devices = 1,
    workers: t.Workers = 0,
    seed: t.Seed = 0,
    preprocess: Preprocess = None,
    classes: Classes = None,
    skip_broken: SkipBroken = False,
    input_shape: InputShape = None,
    tensorboard: t.TensorBoard = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Coverage rates over the epochs, as a plot.")
    ] = None,
    restart: t.Restart = False,
    force: t.Force = False,
    quiet: Quiet = False,
) -> None:
    """Prune while training (Algorithm 2 of the paper), then cut, prove and write the result."""
    from reprune_onnx.training.extra import require

    require("train")
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.cli.teacher import Teacher
    from reprune_onnx.cli.typed import typed
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.model import load
    from reprune_onnx.report.figure import check_plot
    from reprune_onnx.report.files import report_path
    from reprune_onnx.settings import Settings
    from reprune_onnx.shapes import parse_input_shapes
    from reprune_onnx.training.plan import PrunePlan
    from reprune_onnx.training.plot import plot_coverage

    settings = t.train_settings(context.params)
    shapes = parse_input_shapes(input_shape or [])
    pruning = Settings(
        sparsity=sparsity,
        linkage=linkage,
        tie_break=tie_break,
        seed=seed,
        residual=residual,
        norm_statistics=norm_statistics,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        min_channels=min_channels,
        round_to=round_to,
        input_shapes=tuple(shapes.items()),
    )
    if prune_epochs is None:
        prune_epochs = PrunePlan.default_end(epochs, max(interval, 1))
    plan = PrunePlan(pruning, prune_epochs, interval, regrow)
    plan.check(epochs)
    check_plot(plot)
    files = t.destination(model, out, report_path(out), force)
    source = load(model)
    files.protect(source.files)
    how = Reading(preprocess, classes, skip_broken)
    sources = t.Sources(data, val, Teacher.named(distill), how, context.params)
    wanted = t.read_task(source, sources, shapes)
    if not quiet:
        t.print_notes(wanted)
    from reprune_onnx.training.run import Run
    from reprune_onnx.training.train import train

    with Bar(quiet) as bar:
        show, say = (None, None) if quiet else (t.print_epoch, typer.echo)
        words = tuple(typed(context))
        run = Run(out, tensorboard, restart, bar, show, say, shapes, command=words)
        result = train(source, wanted, settings, plan, run, from_random=init == "random")
    t.write(result, run, files)
    if plot is not None and result.main:
        plot_coverage(result.log, plot)
