"""`reprune-onnx finetune`."""

from __future__ import annotations

from typing import Annotated

import typer

from reprune_onnx.cli import training as t
from reprune_onnx.cli.options import (
    Classes,
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
    out: t.Out,
    val: t.Val = None,
    epochs: t.Epochs = 3,
    distill: t.DistillAuto = "auto",
    task: t.TaskName = None,
    loss: t.LossName = None,
    class_weights: t.ClassWeights = None,
    ignore_index: t.IgnoreIndex = None,
    sparsity: Annotated[
        float | None,
        typer.Option(metavar="S", help="Prune first: share of the prunable channels that go."),
    ] = None,
    macs_reduction: Annotated[
        float | None, typer.Option(metavar="R", help="Prune first: share of the MACs that go.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(metavar="N", help="Prune so in N rounds, each followed by --epochs.")
    ] = 1,
    residual: Residual = "keep",
    norm_statistics: NormStatistics = "lock",
    batch_size: t.BatchSize = 64,
    optimizer: t.OptimizerChoice = "auto",
    lr: t.Lr = "auto",
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
    restart: t.Restart = False,
    force: t.Force = False,
    quiet: Quiet = False,
) -> None:
    """Train a model's values on images; its graph, names and opset stay as they are."""
    from reprune_onnx.training.extra import require

    require("finetune")
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.cli.teacher import AUTO, NONE, Teacher
    from reprune_onnx.cli.typed import typed
    from reprune_onnx.data.reading import Reading
    from reprune_onnx.errors import UsageError
    from reprune_onnx.model import load
    from reprune_onnx.report.files import report_path
    from reprune_onnx.settings import Settings
    from reprune_onnx.shapes import parse_input_shapes
    from reprune_onnx.training.log import log_path

    settings = t.train_settings(context.params)
    shapes = parse_input_shapes(input_shape or [])
    own_loss = t.is_function(loss)
    pruning = None
    if sparsity is not None or macs_reduction is not None:
        pruning = Settings(
            sparsity=sparsity,
            macs_reduction=macs_reduction,
            residual=residual,
            norm_statistics=norm_statistics,
            seed=seed,
            input_shapes=tuple(shapes.items()),
            calibration=None if own_loss and task is None else data,
            preprocess=preprocess,
            classes=classes,
            skip_broken=skip_broken,
        )
    elif rounds != 1:
        raise UsageError("--rounds prunes: give --sparsity or --macs-reduction too")
    beside = log_path(out) if pruning is None else report_path(out)
    files = t.destination(model, out, beside, force)
    source = load(model)
    files.protect(source.files)
    how = Reading(preprocess, classes, skip_broken)
    asked = NONE if own_loss and distill == AUTO else distill
    teacher = Teacher.chosen(asked, model, source, pruned_here=pruning is not None)
    wanted = t.read_task(source, t.Sources(data, val, teacher, how, context.params), shapes)
    if not quiet:
        t.print_notes(wanted, teacher)
    from reprune_onnx.training.finetune import finetune
    from reprune_onnx.training.rounds import Rounds, finetune_in_rounds
    from reprune_onnx.training.run import Run

    with Bar(quiet) as bar:
        show, say = (None, None) if quiet else (t.print_epoch, typer.echo)
        words = tuple(typed(context))
        run = Run(out, tensorboard, restart, bar, show, say, shapes, command=words)
        if pruning is None:
            result = finetune(source, wanted, settings, run)
        else:
            result = finetune_in_rounds(source, wanted, settings, Rounds(pruning, rounds), run)
    t.write(result, run, files)
