"""Every option of training, declared and checked once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from operator import not_
from typing import Annotated, Any, Literal

from reprune_onnx.errors import UsageError
from reprune_onnx.options import Option, Takes, check_fields, flag
from reprune_onnx.taken import Globs, as_globs, as_numbers

Schedule = Literal["cosine", "step", "constant"]
MixedPrecision = Literal["fp32", "bf16", "fp16"]
Augment = Literal["none", "flip", "crop", "crop-flip", "resized-crop"]
NormMode = Literal["keep", "insert"]
OptimizerName = Literal["auto", "sgd", "adamw"]
KeptEpoch = Literal["best", "last"]


def _rate(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # auto, or what the settings refuse


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--milestones '{text}' is not numbers such as 0.5,0.75") from error


@dataclass(frozen=True)
class TrainSettings:
    """The options of training; each field is one of `finetune` and `train`.

    ``batch_size`` is that of all processes together. ``lr`` is reached after ``warmup`` epochs and
    then follows ``schedule``; "auto" is found by a range test (`find_rate`). ``optimizer="auto"``
    is settled by `with_optimizer`. The norm that ``clip_norm`` limits is ℓ2, over all parameters.
    ``distill_weight`` counts where there are both labels and a teacher. Raises UsageError for a
    value out of range, and ArgumentError for one of a wrong type.
    """

    epochs: Annotated[int, Option("Passes over the training images.", "N")] = 3
    batch_size: Annotated[int, Option("Images per step, over all processes.", "N")] = 64
    optimizer: Annotated[
        OptimizerName,
        Option(
            "Optimizer. auto is AdamW in finetune with --lr auto, for models of mostly matrices"
            " without BatchNormalization; else SGD."
        ),
    ] = "auto"
    lr: Annotated[
        float | Literal["auto"],
        Option(
            "Highest learning rate; auto finds it by short trials, and prints it.",
            "RATE|auto",
            words=str,
            read=_rate,
        ),
    ] = "auto"
    clip_norm: Annotated[
        float,
        Option(
            "Largest l2 norm of all gradients together; 0 is no limit.",
            "NORM",
            ("--clip-norm", "--clip"),
        ),
    ] = 1.0
    momentum: Annotated[float, Option("Momentum of SGD, or first beta of AdamW.", "M")] = 0.9
    weight_decay: Annotated[float, Option("Weight decay of all parameters.", "W")] = 5e-4
    schedule: Annotated[
        Schedule,
        Option(
            "Course of the learning rate: along half a cosine to 0; to a tenth at each of"
            " --milestones (step); or constant."
        ),
    ] = "cosine"
    milestones: Annotated[
        Takes[Iterable[float], tuple[float, ...]],
        Option(
            "Shares of the epochs after which --schedule step lowers the rate.",
            "A,B,…",
            words=str,
            read=_shares,
            shown="0.5,0.75",
        ),
    ] = Takes(as_numbers, (0.5, 0.75))
    warmup: Annotated[
        float, Option("Epochs in which the learning rate first rises from 0.", "EPOCHS")
    ] = 0.0
    label_smoothing: Annotated[
        float, Option("Share of each label to spread over all classes.", "SHARE")
    ] = 0.0
    mixup: Annotated[
        float,
        Option("Mixing of pairs of images, by a Beta(α, α) distribution; 0 is none.", "ALPHA"),
    ] = 0.0
    ema: Annotated[
        float,
        Option(
            "Decay of a running average of the weights, such as 0.999, to be written; 0 is none.",
            "DECAY",
        ),
    ] = 0.0
    augment: Annotated[
        Augment, Option("Random changes of the training images; flip mirrors left and right.")
    ] = "none"
    distill_weight: Annotated[
        float,
        Option("Share of the --distill model in the loss; the rest is that of labels.", "SHARE"),
    ] = 0.9
    temperature: Annotated[
        float, Option("Temperature that softens a classifier's answers for --distill.", "T")
    ] = 4.0
    batch_norm: Annotated[
        NormMode,
        Option(
            "BatchNormalization of layers into which it was folded: keep trains without; insert"
            " trains with a new one, and folds it at the end."
        ),
    ] = "keep"
    freeze: Annotated[
        Takes[Globs, tuple[str, ...]],
        Option(
            "Do not train tensors, or tensors of nodes, whose name matches; repeatable.",
            "GLOB",
            words=list[str],
        ),
    ] = Takes(as_globs, ())
    freeze_bn: Annotated[
        bool,
        Option(
            "Keep the running statistics of BatchNormalization, and normalise with them; scale and"
            " shift train on.",
            names=("--freeze-bn",),
        ),
    ] = False
    patience: Annotated[
        int, Option("Stop after N epochs without a better one; 0 is never.", "N")
    ] = 0
    keep_epoch: Annotated[
        KeptEpoch,
        Option(
            "Epoch to write: the best on --val, epoch 0 (as given) included; or the last, for which"
            " nothing of --data is held back."
        ),
    ] = "best"
    sync_batch_norm: Annotated[
        bool,
        Option(
            "Give each process BatchNormalization statistics of its own.",
            names=("--no-sync-batch-norm",),
            words=bool,
            read=not_,
        ),
    ] = True
    precision: Annotated[
        MixedPrecision, Option("Number format to train in; bf16 and fp16 are mixed precision.")
    ] = "fp32"
    accelerator: Annotated[str, Option("Device to train on: auto, cpu, cuda or mps.", "NAME")] = (
        "auto"
    )
    devices: Annotated[
        int, Option("Processes, one per device, on this machine; torchrun decides its own.", "N")
    ] = 1
    workers: Annotated[
        int,
        Option(
            "Processes that decode images, where they do not fit in memory; 0 is this one.", "N"
        ),
    ] = 0
    seed: Annotated[int, Option("Seed of all random choices.", "N")] = 0

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("epochs", "batch_size", "devices"):
            if getattr(self, name) < 1:
                raise UsageError(f"{flag(name)} must be at least 1")
        for name in ("warmup", "weight_decay", "mixup", "workers", "seed", "clip_norm", "patience"):
            if getattr(self, name) < 0:
                raise UsageError(f"{flag(name)} must not be negative")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{flag(name)} {getattr(self, name)} is outside [0, 1)")
        if not self.temperature > 0:
            raise UsageError("--temperature must be above 0")
        self._check_rate()
        if not 0 <= self.distill_weight <= 1:
            raise UsageError(f"--distill-weight {self.distill_weight} is outside [0, 1]")
        if any(not 0 < m < 1 for m in self.milestones):
            raise UsageError("--milestones are shares of the epochs, such as 0.5,0.75")

    def _check_rate(self) -> None:
        if self.lr == "auto":
            return
        if isinstance(self.lr, str):
            raise UsageError(f"--lr '{self.lr}' is neither a number above 0 nor auto")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError("--lr must be above 0")

    def with_optimizer(self, usual: OptimizerName) -> TrainSettings:
        """These settings, in which "auto" is the ``usual`` optimizer where the rate is found too.

        A rate that is given is SGD's, as rates in papers and recipes are.
        """
        if self.optimizer != "auto":
            return self
        return replace(self, optimizer=usual if self.lr == "auto" else "sgd")

    def as_report(self) -> dict[str, Any]:
        """All settings, in JSON's types."""
        return asdict(self) | {"milestones": list(self.milestones), "freeze": list(self.freeze)}
