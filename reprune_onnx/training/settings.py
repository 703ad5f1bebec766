"""Every option of training, checked once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from reprune_onnx.errors import UsageError

Schedule = Literal["cosine", "step", "constant"]
Precision = Literal["fp32", "bf16", "fp16"]
Augment = Literal["none", "flip", "crop", "crop-flip", "resized-crop"]
NormMode = Literal["keep", "insert"]

_CHOICES: dict[str, Any] = {
    "schedule": Schedule,
    "precision": Precision,
    "augment": Augment,
    "batch_norm": NormMode,
}


@dataclass(frozen=True)
class TrainSettings:
    """How to train. Raises UsageError for a value out of range.

    ``batch_size`` is that of all processes together. ``lr`` is reached after ``warmup`` epochs and
    then follows ``schedule``: half a cosine to 0, or a tenth of it from each of ``milestones``
    (shares of the epochs) on. ``ema`` is the decay of the averaged weights that are kept, 0 for
    the last ones. ``distill_weight`` is the share of the original's answers in the loss, where both
    they and labels are there. ``batch_norm="insert"`` trains a folded layer with a
    BatchNormalization of its own, which is folded again at the end.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    augment: Augment = "none"
    distill_weight: float = 0.5
    temperature: float = 4.0
    batch_norm: NormMode = "keep"
    sync_batch_norm: bool = True
    precision: Precision = "fp32"
    accelerator: str = "auto"
    devices: int = 1
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "devices"):
            if getattr(self, name) < 1:
                raise UsageError(f"{_option(name)} must be at least 1")
        for name in ("warmup", "weight_decay", "mixup", "workers", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"{_option(name)} must not be negative")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{_option(name)} {getattr(self, name)} is outside [0, 1)")
        for name in ("lr", "temperature"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{_option(name)} must be above 0")
        if not 0 <= self.distill_weight <= 1:
            raise UsageError(f"--distill-weight {self.distill_weight} is outside [0, 1]")
        if any(not 0 < m < 1 for m in self.milestones):
            raise UsageError("--milestones are shares of the epochs, such as 0.5,0.75")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in get_args(allowed):
                known = ", ".join(get_args(allowed))
                raise UsageError(f"{_option(name)} '{getattr(self, name)}' is not one of {known}")

    def as_report(self) -> dict[str, Any]:
        """All settings, in JSON's types."""
        return asdict(self) | {"milestones": list(self.milestones)}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
