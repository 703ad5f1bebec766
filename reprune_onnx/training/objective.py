"""What training makes small: cross-entropy, distance from the original's answers, or your own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprune_onnx.training.settings import TrainSettings

Counted = Literal["top1", "agreement"]
Loss = Callable[[Any, Any], Tensor]
"""(outputs of the graph, target) -> a scalar."""


@dataclass(frozen=True)
class Objective:
    """The loss of a batch. One of these decides:

    * ``custom(outputs, target)``, for any task;
    * cross-entropy with labels (class numbers, or shares of classes from mixup);
    * with a ``teacher``, the original model: KL divergence of its softened answers times T², where
      ``classes`` are known, else the squared error of every output in units of its variance; beside
      cross-entropy by ``distill_weight`` where there are labels.
    """

    settings: TrainSettings
    classes: int | None = None
    teacher: nn.Module | None = None
    custom: Loss | None = None

    def __call__(self, module: Callable[..., Any], x: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        """The loss, and how many images are classified rightly: as `counts` says, else 0."""
        outputs = module(x)
        none = torch.zeros((), device=x.device)
        if self.custom is not None:
            return self.custom(outputs, target), none
        if self.classes is None:
            return self._distance(outputs, x), none
        logits = outputs.flatten(1).float()
        share = self.settings.distill_weight if target is not None else 1.0
        loss = torch.zeros((), device=x.device)
        answers = none
        if self.teacher is not None and share > 0:
            answers = self._answers(x).flatten(1).float()
            loss = loss + share * self._divergence(logits, answers)
        if target is None:
            return loss, (logits.argmax(1) == answers.argmax(1)).sum()
        if self.teacher is None or share < 1:
            own = 1.0 if self.teacher is None else 1.0 - share
            smoothing = self.settings.label_smoothing
            loss = loss + own * F.cross_entropy(logits, target, label_smoothing=smoothing)
        hard = target.argmax(1) if target.ndim == 2 else target
        return loss, (logits.argmax(1) == hard).sum()

    def counts(self, labelled: bool) -> Counted | None:
        """What an image is counted for: its label, or the original's answer; None for nothing."""
        if self.custom is not None or self.classes is None:
            return None
        return "top1" if labelled else "agreement"

    def _divergence(self, logits: Tensor, answers: Tensor) -> Tensor:
        T = self.settings.temperature
        mine, theirs = (logits / T).log_softmax(1), (answers / T).log_softmax(1)
        return F.kl_div(mine, theirs, reduction="batchmean", log_target=True) * T**2

    def _distance(self, outputs: Any, x: Tensor) -> Tensor:
        answers = self._answers(x)
        pairs = zip(_each(outputs), _each(answers), strict=True)
        errors = [
            F.mse_loss(a.float(), b.float()) / b.float().var().clamp_min(1e-12)
            for a, b in pairs
            if a.is_floating_point()
        ]
        return torch.stack(errors).mean()

    def _answers(self, x: Tensor) -> Any:
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher(x)


def _each(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
