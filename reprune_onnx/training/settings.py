"""Every option of training, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from reprune_onnx.errors import UsageError

Schedule = Literal["cosine", "step", "constant"]
MixedPrecision = Literal["fp32", "bf16", "fp16"]
Augment = Literal["none", "flip", "crop", "crop-flip", "resized-crop"]
NormMode = Literal["keep", "insert"]
OptimizerName = Literal["auto", "sgd", "adamw"]
KeptEpoch = Literal["best", "last"]

_CHOICES: dict[str, Any] = {
    "schedule": Schedule,
    "precision": MixedPrecision,
    "augment": Augment,
    "batch_norm": NormMode,
    "optimizer": OptimizerName,
    "keep_epoch": KeptEpoch,
}


@dataclass(frozen=True)
class TrainSettings:
    """How to train. Raises UsageError for a value out of range.

    ``batch_size`` is that of all processes together. ``lr`` is reached after ``warmup`` epochs and
    then follows ``schedule``: half a cosine to 0, or a tenth of it from each of ``milestones``
    (shares of the epochs) on; "auto" is found by a range test (`find_rate`). ``optimizer="auto"``
    is settled by `with_optimizer`. ``momentum`` is that of SGD, or the first β of AdamW.
    ``clip_norm`` is the longest gradient (L2 norm over all parameters) that a step takes, 0 for
    any. ``freeze`` are globs over names of tensors and of nodes, whose values stay; ``freeze_bn``
    keeps the running statistics of BatchNormalization (its scale and shift train on).
    ``keep_epoch`` is which epoch is the result: the best of those that were measured, the start
    included, or the last; then nothing is held back from the training data. ``patience`` is after
    how many epochs without a better one training ends, 0 for never. ``ema`` is the decay of the
    averaged weights that are kept, 0 for the last ones. ``distill_weight`` is the share of the
    original's answers in the loss, where both they and labels are there. ``batch_norm="insert"``
    trains a folded layer with a BatchNormalization of its own, which is folded again at the end.
    """

    epochs: int = 3
    batch_size: int = 64
    optimizer: OptimizerName = "auto"
    lr: float | Literal["auto"] = "auto"
    clip_norm: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    augment: Augment = "none"
    distill_weight: float = 0.9
    temperature: float = 4.0
    batch_norm: NormMode = "keep"
    freeze: tuple[str, ...] = ()
    freeze_bn: bool = False
    patience: int = 0
    keep_epoch: KeptEpoch = "best"
    sync_batch_norm: bool = True
    precision: MixedPrecision = "fp32"
    accelerator: str = "auto"
    devices: int = 1
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "devices"):
            if getattr(self, name) < 1:
                raise UsageError(f"{_option(name)} must be at least 1")
        for name in ("warmup", "weight_decay", "mixup", "workers", "seed", "clip_norm", "patience"):
            if getattr(self, name) < 0:
                raise UsageError(f"{_option(name)} must not be negative")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{_option(name)} {getattr(self, name)} is outside [0, 1)")
        if not self.temperature > 0:
            raise UsageError("--temperature must be above 0")
        self._check_rate()
        if not 0 <= self.distill_weight <= 1:
            raise UsageError(f"--distill-weight {self.distill_weight} is outside [0, 1]")
        if any(not 0 < m < 1 for m in self.milestones):
            raise UsageError("--milestones are shares of the epochs, such as 0.5,0.75")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in get_args(allowed):
                known = ", ".join(get_args(allowed))
                raise UsageError(f"{_option(name)} '{getattr(self, name)}' is not one of {known}")

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


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
