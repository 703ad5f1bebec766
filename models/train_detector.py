"""Train a detector's ONNX file: the backbone's graph inside the PyTorch detector, and back.

>>> from models.schedules import SCHEDULES
>>> SCHEDULES["maskrcnn_resnet50_fpn"].shortened(1_600).rate(1_000)
0.004
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torchvision.models.detection import MaskRCNN

from models.bridged import detector_of, written
from models.default_boxes import IMAGE, default_boxes
from models.schedules import Schedule
from models.ssd_loss import match, ssd_loss
from reprune_onnx.errors import TrainingError
from reprune_onnx.types import Model

Target = dict[str, Tensor]
Batch = tuple[list[Tensor], list[Target]]
"""Images (3, h, w), and of each its boxes (n, 4) in pixels, labels (n,) and masks (n, h, w).

Those of SSD300 are normalised, of 300x300 pixels, and need no masks.
"""


@dataclass(frozen=True)
class HowToTrain:
    """``options`` are torchvision's, of Mask R-CNN (``min_size``, …).

    ``on_step`` gets the number and the loss of every step.
    """

    schedule: Schedule
    options: Mapping[str, int] = field(default_factory=dict)
    on_step: Callable[[int, float], None] | None = None


@dataclass(frozen=True)
class Trained:
    """The file with the values that training gave it, and every step's loss."""

    model: Model
    losses: list[float]


def train_detector(model: Model, batches: Iterable[Batch], how: HowToTrain) -> Trained:
    """Train ``model`` for ``how.schedule.iterations`` steps, or to the end of ``batches``.

    Raises TrainingError where the loss is not finite.
    """
    net = detector_of(model, how.schedule, how.options).train()
    optimizer, losses = _optimizer(net, how.schedule), list[float]()
    for step, (images, targets) in zip(range(how.schedule.iterations), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = how.schedule.rate(step)
        loss = loss_of(net, images, targets)
        losses.append(float(loss.detach()))
        if not isfinite(losses[-1]):
            raise TrainingError(f"the loss is {losses[-1]} at step {step}: lower the rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if how.on_step is not None:
            how.on_step(step, losses[-1])
    return Trained(written(model, net.eval()), losses)


def loss_of(net: nn.Module, images: list[Tensor], targets: list[Target]) -> Tensor:
    """The loss of a batch: the sum of torchvision's, or SSD's."""
    if isinstance(net, MaskRCNN):
        return torch.stack(list(net(images, targets).values())).sum()
    boxes = default_boxes().to(images[0].device)
    wanted = [match(t["boxes"] / IMAGE, t["labels"], boxes) for t in targets]
    offsets, labels = (torch.stack(values) for values in zip(*wanted, strict=True))
    return ssd_loss(net(torch.stack(images)), offsets, labels)


def _optimizer(net: nn.Module, schedule: Schedule) -> SGD:
    learned = [p for p in net.parameters() if p.requires_grad]
    return SGD(learned, schedule.lr, schedule.momentum, weight_decay=schedule.weight_decay)
