"""Train a detector's ONNX file: the backbone's graph inside the PyTorch detector, and back.

>>> from models.schedules import SCHEDULES
>>> SCHEDULES["maskrcnn_resnet50_fpn"].shortened(1_600).rate(1_000)
0.004
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite

import torch
from torch import Tensor, nn
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


def train_detector(
    model: Model,
    batches: Iterable[Batch],
    schedule: Schedule,
    on_step: Callable[[int, float], None] | None = None,
    **options: int,
) -> tuple[Model, list[float]]:
    """The file with the values that training gave it, and the loss of every step.

    Training ends after ``schedule.iterations`` steps, or with ``batches``. ``options`` are
    torchvision's, of Mask R-CNN. Raises TrainingError where the loss is not finite.
    """
    net = detector_of(model, schedule, **options).train()
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        learned, schedule.lr, schedule.momentum, weight_decay=schedule.weight_decay
    )
    history: list[float] = []
    for step, (images, targets) in zip(range(schedule.iterations), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = loss_of(net, images, targets)
        history.append(float(loss.detach()))
        if not isfinite(history[-1]):
            raise TrainingError(f"the loss is {history[-1]} at step {step}: lower the rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if on_step is not None:
            on_step(step, history[-1])
    return written(model, net.eval()), history


def loss_of(net: nn.Module, images: list[Tensor], targets: list[Target]) -> Tensor:
    """The loss of a batch: the sum of torchvision's, or SSD's."""
    if isinstance(net, MaskRCNN):
        return torch.stack(list(net(images, targets).values())).sum()
    boxes = default_boxes().to(images[0].device)
    wanted = [match(t["boxes"] / IMAGE, t["labels"], boxes) for t in targets]
    offsets, labels = (torch.stack(values) for values in zip(*wanted, strict=True))
    return ssd_loss(net(torch.stack(images)), offsets, labels)
