"""The table of losses, by task and by name.

All of them read logits. Of probabilities p, where a file has nothing else, these are log p of
several classes and log p − log(1 − p) of single ones, so that the losses are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.analyzer.op_kinds import PROBABILITIES
from reprune_onnx.tasks.kinds import Head, TargetReading, conformed, masks_settled
from reprune_onnx.tasks.segmentation import UNKNOWN

_TINY = 1e-7  # the least probability that has a logarithm


@dataclass(frozen=True)
class Terms:
    """The settings of losses: ``weights`` of the classes, shares, the ``reading`` of masks.

    ``smoothing`` is the share that is spread over all classes, ``temperature`` the T that softens
    the answers of two models before they are compared.
    """

    weights: Tensor | None = None
    smoothing: float = 0.0
    temperature: float = 4.0
    reading: TargetReading = field(default_factory=TargetReading)


Criterion = Callable[[Tensor, Tensor, Terms], Tensor]
"""(logits as `TaskLoss.read` gives them, labels or another model's logits, terms) -> a scalar."""


@dataclass(frozen=True)
class TaskLoss:
    """One loss: ``read`` makes logits of a tensor, ``labels`` and ``answers`` compare them.

    ``weighted``: labels are classes, which weights and smoothing are of. ``right`` counts the
    images whose label is given, where that can be said of each.
    """

    read: Callable[[Tensor, Head], Tensor]
    labels: Criterion
    answers: Criterion
    weighted: bool = True
    right: Callable[[Tensor, Tensor], Tensor] | None = None


# ── logits ──────────────────────────────────────────────────────────────────────────────────


def _flat(y: Tensor, head: Head) -> Tensor:
    """(b, classes)."""
    return _logits(y.flatten(1).float(), head)


def _planes(y: Tensor, head: Head) -> Tensor:
    """(b, classes, h, w)."""
    y = y.float()
    y = y[:, None] if y.ndim == 3 else y
    return _logits(y.movedim(3, 1) if head.layout == "nhwc" and y.shape[1] != 1 else y, head)


def _as_float(y: Tensor, head: Head) -> Tensor:
    del head
    return y.float()


def _logits(y: Tensor, head: Head) -> Tensor:
    if head.maker not in PROBABILITIES:
        return y
    several = head.maker == "Softmax" and y.shape[1] > 1
    return y.clamp_min(_TINY).log() if several else torch.logit(y, _TINY)


# ── one class per image ─────────────────────────────────────────────────────────────────────


def _cross_entropy(scores: Tensor, target: Tensor, terms: Terms) -> Tensor:
    return F.cross_entropy(scores, target, terms.weights, label_smoothing=terms.smoothing)


def _divergence(scores: Tensor, answers: Tensor, terms: Terms) -> Tensor:
    """T² Σ p log(p / q) of softened answers, the mean over images, and pixels where there are."""
    T = terms.temperature
    mine, theirs = (scores / T).log_softmax(1), (answers / T).log_softmax(1)
    each = F.kl_div(mine, theirs, reduction="none", log_target=True).sum(1)
    return each.mean() * T**2


def _right(scores: Tensor, target: Tensor) -> Tensor:
    hard = target.argmax(1) if target.ndim == 2 else target
    return (scores.argmax(1) == hard).sum()


# ── a class per pixel ───────────────────────────────────────────────────────────────────────


def _pixel_cross_entropy(scores: Tensor, target: Tensor, terms: Terms) -> Tensor:
    """The mean over the pixels that count, at the masks' size, as `evaluate` compares them."""
    classes = max(2, scores.shape[1])
    masks = masks_settled(target, classes, terms.reading)
    scores = _resized(scores, masks.shape[1:])
    weights = scores.new_ones(classes) if terms.weights is None else terms.weights
    counted = torch.where(masks == UNKNOWN, 0.0, weights[masks.clamp_min(0)])
    if scores.shape[1] == 1:
        wanted = _smoothed((masks == 1).float(), terms)
        each = counted * F.binary_cross_entropy_with_logits(scores[:, 0], wanted, reduction="none")
    else:
        each = F.cross_entropy(
            *(scores, masks, weights),
            ignore_index=UNKNOWN,
            reduction="none",
            label_smoothing=terms.smoothing,
        )
    return each.sum() / counted.sum().clamp_min(_TINY)


def _pixel_divergence(scores: Tensor, answers: Tensor, terms: Terms) -> Tensor:
    answers = _resized(answers, scores.shape[2:])
    single = scores.shape[1] == 1
    return (_binary_divergence if single else _divergence)(scores, answers, terms)


def _resized(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    if scores.shape[2:] == tuple(size):
        return scores
    return F.interpolate(scores, tuple(size), mode="bilinear", align_corners=False)


# ── several labels ──────────────────────────────────────────────────────────────────────────


def _binary_entropy(scores: Tensor, target: Tensor, terms: Terms) -> Tensor:
    """The mean over the labels that are known; a weight is that of a label where it is given."""
    wanted = target.flatten(1).float()
    labelled = torch.isfinite(wanted)
    each = F.binary_cross_entropy_with_logits(
        scores,
        _smoothed(torch.where(labelled, wanted, 0.0), terms),
        pos_weight=terms.weights,
        reduction="none",
    )
    return torch.where(labelled, each, 0.0).sum() / labelled.sum().clamp_min(1)


def _smoothed(wanted: Tensor, terms: Terms) -> Tensor:
    return wanted * (1 - terms.smoothing) + terms.smoothing / 2


def _binary_divergence(scores: Tensor, answers: Tensor, terms: Terms) -> Tensor:
    """T² KL of softened probabilities of every label by itself, the mean over all."""
    T = terms.temperature
    p = (answers / T).sigmoid()
    ours = F.binary_cross_entropy_with_logits(scores / T, p)
    return (ours - F.binary_cross_entropy_with_logits(answers / T, p)) * T**2


# ── numbers ─────────────────────────────────────────────────────────────────────────────────


def _mean_of(error: Callable[..., Tensor]) -> Criterion:
    """The mean of ``error`` over the numbers that are known."""

    def mean(scores: Tensor, target: Tensor, terms: Terms) -> Tensor:
        del terms
        wanted = conformed(target, scores.shape).float()
        labelled = torch.isfinite(wanted)
        each = error(scores, torch.where(labelled, wanted, 0.0), reduction="none")
        return torch.where(labelled, each, 0.0).sum() / labelled.sum().clamp_min(1)

    return mean


def _numbers(error: Callable[..., Tensor]) -> TaskLoss:
    return TaskLoss(_as_float, _mean_of(error), _mean_of(error), weighted=False)


LOSSES: dict[str, dict[str, TaskLoss]] = {
    "classification": {"cross-entropy": TaskLoss(_flat, _cross_entropy, _divergence, right=_right)},
    "semantic-segmentation": {
        "cross-entropy": TaskLoss(_planes, _pixel_cross_entropy, _pixel_divergence)
    },
    "regression": {
        "mse": _numbers(F.mse_loss),
        "l1": _numbers(F.l1_loss),
        "smooth-l1": _numbers(F.smooth_l1_loss),
    },
    "multi-label": {"bce": TaskLoss(_flat, _binary_entropy, _binary_divergence)},
}
"""Of each task the losses that it has; the first is used unless another is named."""
