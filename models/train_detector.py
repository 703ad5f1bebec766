"""Train a detector's ONNX file: the backbone's graph inside the PyTorch detector, and back.

>>> from models.schedules import SCHEDULES
>>> SCHEDULES["maskrcnn_resnet50_fpn"].shortened(1_600).rate(1_000)
0.004
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torchvision.models.detection import MaskRCNN

from models.bridged import BACKBONE, Bridged, detector_of, part, written
from models.default_boxes import IMAGE, default_boxes
from models.schedules import Schedule
from models.ssd_loss import match, ssd_loss
from reprune_onnx.errors import TrainingError
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.concurrent import Whole
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.proven_cut import Decided, cut_and_prove
from reprune_onnx.types import Model

Target = dict[str, Tensor]
Batch = tuple[list[Tensor], list[Target]]
"""Images (3, h, w), and of each its boxes (n, 4) in pixels, labels (n,) and masks (n, h, w).

Those of SSD300 are normalised, of 300x300 pixels, and need no masks.
"""


@dataclass(frozen=True)
class HowToTrain:
    """The schedule; with a ``plan``, whose unit is the step, the backbone is pruned on the way.

    ``options`` are torchvision's, of Mask R-CNN (``min_size``, …); ``on_step`` gets every loss.
    """

    schedule: Schedule
    plan: PrunePlan | None = None
    options: Mapping[str, int] = field(default_factory=dict)
    on_step: Callable[[int, float], None] | None = None


@dataclass(frozen=True)
class Trained:
    """The file with the values that training gave it, every step's loss, and a pruning's report."""

    model: Model
    losses: list[float]
    report: dict[str, Any] | None = None


def train_detector(model: Model, batches: Iterable[Batch], how: HowToTrain) -> Trained:
    """Train ``model`` for ``how.schedule.iterations`` steps, or to the end of ``batches``.

    With a plan, channels of the backbone are chosen anew after every interval (Algorithm 2); the
    result is cut, and the cut proven. Raises TrainingError where the loss is not finite, and
    VerificationError where the cut cannot be proven.
    """
    net, plan = detector_of(model, how.schedule, how.options).train(), how.plan
    optimizer, losses = _optimizer(net, how.schedule), list[float]()
    backbone_network = None if plan is None else _whole(model, plan)
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
        if backbone_network is not None and backbone_network.plan.updates_after(step + 1):
            optimizer = _update(net, backbone_network, (optimizer, how.schedule), step + 1)
    net.eval()
    if backbone_network is None or plan is None or backbone_network.cuts is None:
        return Trained(written(model, net), losses)
    result, report = _proven(model, net, backbone_network, plan)
    return Trained(result, losses, report)


def loss_of(net: nn.Module, images: list[Tensor], targets: list[Target]) -> Tensor:
    """The loss of a batch: the sum of torchvision's, or SSD's."""
    if isinstance(net, MaskRCNN):
        return torch.stack(list(net(images, targets).values())).sum()
    boxes = default_boxes().to(images[0].device)
    wanted = [match(t["boxes"] / IMAGE, t["labels"], boxes) for t in targets]
    offsets, labels = (torch.stack(values) for values in zip(*wanted, strict=True))
    return ssd_loss(net(torch.stack(images)), offsets, labels)


# ── pruning on the way ──────────────────────────────────────────────────────────────────────────


def _whole(model: Model, plan: PrunePlan) -> Whole:
    """The backbone with all channels: its input is not the file's."""
    return Whole.of(part(model), replace(plan, settings=replace(plan.settings, input_shapes=())))


def _optimizer(net: nn.Module, schedule: Schedule) -> SGD:
    learned = [p for p in net.parameters() if p.requires_grad]
    return SGD(learned, schedule.lr, schedule.momentum, weight_decay=schedule.weight_decay)


def _update(
    net: nn.Module, backbone_network: Whole, learning: tuple[SGD, Schedule], step: int
) -> SGD:
    """Choose channels, go on with the network that has only them, and with the momentum it had."""
    (optimizer, schedule), backbone = learning, net.backbone
    assert isinstance(backbone, Bridged)
    momenta = {p: state["momentum_buffer"] for p, state in optimizer.state.items()}
    by_name = {name: momenta[p] for name, p in backbone.inner.named_parameters() if p in momenta}
    backbone_network.take_in(backbone.inner, {"momentum_buffer": by_name})
    backbone_network.update(step, backbone_network.plan.settings.seed)
    module, memory = backbone_network.narrow(None)
    momentum = memory.get("momentum_buffer", {})
    backbone.adopt(module)
    momenta |= {p: momentum[name] for name, p in module.named_parameters() if name in momentum}
    narrow = _optimizer(net, schedule)
    for parameter in net.parameters():
        if parameter in momenta:
            narrow.state[parameter]["momentum_buffer"] = momenta[parameter]
    return narrow


def _proven(
    model: Model, net: nn.Module, backbone_network: Whole, plan: PrunePlan
) -> tuple[Model, dict[str, Any]]:
    """The file with all channels and the trained values, cut; and the report."""
    assert isinstance(net.backbone, Bridged)
    assert backbone_network.cuts is not None
    backbone_network.take_in(net.backbone.inner, {})
    net.backbone.adopt(torch_module(backbone_network.full_model()))
    full = written(model, net)
    include = plan.settings.include or (BACKBONE,)
    settings = replace(plan.settings, include=include, allocation="bn-gamma", recover="none")
    # Groups of the whole file have other ids than the backbone's, so nothing is said of choices.
    return cut_and_prove(model, full, Decided(settings, backbone_network.cuts.cuts, {}, {}))
