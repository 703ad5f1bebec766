"""`reprune-onnx finetune`."""

from __future__ import annotations

from reprune_onnx.cli import training as t
from reprune_onnx.cli.options import InputShape, ModelArgument, Preprocess, Quiet


def command(
    model: ModelArgument,
    data: t.Data,
    out: t.Out,
    val: t.Val = None,
    epochs: t.Epochs = 10,
    distill: t.Distill = None,
    loss: t.LossName = None,
    batch_size: t.BatchSize = 64,
    lr: t.Lr = 0.02,
    momentum: t.Momentum = 0.9,
    weight_decay: t.WeightDecay = 5e-4,
    schedule: t.ScheduleName = "cosine",
    milestones: t.Milestones = "0.5,0.75",
    warmup: t.Warmup = 0.0,
    label_smoothing: t.LabelSmoothing = 0.0,
    mixup: t.Mixup = 0.0,
    ema: t.Ema = 0.0,
    augment: t.AugmentName = "none",
    distill_weight: t.DistillWeight = 0.5,
    temperature: t.Temperature = 4.0,
    batch_norm: t.BatchNorm = "keep",
    no_sync_batch_norm: t.NoSync = False,
    precision: t.PrecisionName = "fp32",
    accelerator: t.Accelerator = "auto",
    devices: t.Devices = 1,
    workers: t.Workers = 0,
    seed: t.Seed = 0,
    preprocess: Preprocess = None,
    input_shape: InputShape = None,
    tensorboard: t.TensorBoard = None,
    restart: t.Restart = False,
    force: t.Force = False,
    quiet: Quiet = False,
) -> None:
    """Train a model's values on images; its graph, names and opset stay as they are."""
    from reprune_onnx.finetune.extra import require

    require("finetune")
    from reprune_onnx.cli.progress import Bar
    from reprune_onnx.finetune.finetune import Run, finetune
    from reprune_onnx.finetune.log import log_path
    from reprune_onnx.finetune.settings import TrainSettings
    from reprune_onnx.model import load
    from reprune_onnx.shapes import parse_input_shapes

    settings = TrainSettings(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        milestones=t.milestones(milestones),
        warmup=warmup,
        label_smoothing=label_smoothing,
        mixup=mixup,
        ema=ema,
        augment=augment,
        distill_weight=distill_weight,
        temperature=temperature,
        batch_norm=batch_norm,
        sync_batch_norm=not no_sync_batch_norm,
        precision=precision,
        accelerator=accelerator,
        devices=devices,
        workers=workers,
        seed=seed,
    )
    files = t.destination(model, out, log_path(out), force)
    source = load(model)
    files.protect(source.files)
    shapes = parse_input_shapes(input_shape or [])
    task = t.read_task(source, t.Sources(data, val, distill, loss, preprocess), shapes)
    with Bar(quiet) as bar:
        show = None if quiet else t.print_epoch
        run = Run(out, tensorboard, restart, bar, show, shapes)
        result = finetune(source, task, settings, run)
    t.write(result, run, files)
