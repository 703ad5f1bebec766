"""A task for training: its data, its teacher and its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.errors import UsageError
from reprune_onnx.tasks import CLASSIFICATION, KINDS, TaskKind
from reprune_onnx.training.losses import LOSSES, TaskLoss
from reprune_onnx.training.objective import Loss
from reprune_onnx.training.settings import TrainSettings
from reprune_onnx.types import Model


@dataclass(frozen=True)
class Task:
    """The data and the aim of a training.

    ``data`` are images (labels, or a ``teacher``, say what they should give), or, with ``loss``, a
    function that yields batches ``(x, target)``. ``val`` is of the same kind: what is measured on
    it decides which epoch is kept; without it a part of ``data`` is held back. ``teacher`` is the
    unpruned model; with ``if_better`` it teaches only where it is better on labelled images than
    the model that is trained. ``loss`` is the name of one of the task's losses, or
    ``loss(outputs, target)`` of the graph's outputs: a tensor, or a tuple. ``kind`` names the task:
    by default classification, or with a loss of one's own none, so that nothing but the loss is
    measured. ``class_weights`` are a number per class, a file of them or ``"balanced"``. ``ignore``
    is a value of masks that does not count. Raises UsageError for what does not go together.
    """

    data: Dataset | Callable[[], Iterable[Any]]
    val: Dataset | Callable[[], Iterable[Any]] | None = None
    teacher: Model | None = None
    loss: Loss | str | None = None
    kind: str | None = None
    class_weights: str | Sequence[float] | None = None
    ignore: int | None = None
    if_better: bool = False

    def __post_init__(self) -> None:
        what = self.what
        if what is not None and isinstance(self.loss, str) and self.loss not in LOSSES[what.name]:
            names = ", ".join(LOSSES[what.name])
            raise UsageError(
                f"--loss '{self.loss}' is neither MODULE:FUNCTION nor a loss of --task {what.name},"
                f" which has {names}"
            )
        if self.ignore is not None and (what is None or what.labels.beside != "masks"):
            raise UsageError("--ignore-index is of masks: give --task semantic-segmentation too")
        if self.class_weights is not None:
            self._check_weights()

    def _check_weights(self) -> None:
        if self.custom is not None:
            raise UsageError("--class-weights are of the task's own losses, not of your --loss")
        if self.what is not None and not self.task_loss.weighted:
            raise UsageError(f"--class-weights are of classes: --task {self.what.name} has none")

    @property
    def custom(self) -> Loss | None:
        """A loss of one's own."""
        return None if isinstance(self.loss, str) else self.loss

    @property
    def what(self) -> TaskKind | None:
        """The task; None where only a loss of one's own says what is wanted."""
        if self.kind is None:
            return None if self.custom is not None else CLASSIFICATION
        if self.kind not in KINDS:
            raise UsageError(f"--task '{self.kind}' is not one of {', '.join(KINDS)}")
        return KINDS[self.kind]

    @property
    def task_loss(self) -> TaskLoss:
        """The task's own loss: the one that is named, or its first."""
        losses = LOSSES[(self.what or CLASSIFICATION).name]
        return losses[self.loss] if isinstance(self.loss, str) else next(iter(losses.values()))

    def check(self, settings: TrainSettings) -> None:
        """Raise UsageError for settings that the task's labels do not have."""
        if self.what is None or self.custom is not None:
            return
        if settings.label_smoothing and not self.task_loss.weighted:
            raise UsageError(f"--label-smoothing is of classes: --task {self.what.name} has none")
        if settings.mixup and self.what.labels.beside == "masks":
            raise UsageError("--mixup mixes labels of whole images, and masks have one per pixel")

    def as_report(self) -> dict[str, Any]:
        """The fields that decide the result beside data and models, in JSON's types."""
        weights = self.class_weights
        return {
            "kind": None if self.what is None else self.what.name,
            "loss": self.loss if isinstance(self.loss, str) else None,
            "class_weights": weights if isinstance(weights, str | None) else list(weights),
            "ignore": self.ignore,
        }
