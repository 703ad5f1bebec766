"""SSD's loss (Liu et al. 2016): default boxes matched to objects, hard negatives three to one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.ops import box_iou

from models.default_boxes import corners_of, encode

MATCH = 0.5  # overlap from which a default box stands for an object
NEGATIVES = 3  # per matched box


def match(objects: Tensor, labels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (8732, 4) and labels (8732,), 0 for background, that an image's objects ask for.

    ``objects (n, 4)`` are corners in units of the image's side, ``labels (n,)`` from 1, ``boxes``
    the default boxes. Every object gets the default box that overlaps it most, and all that overlap
    it by more than half.
    """
    if not len(objects):
        return torch.zeros_like(boxes), labels.new_zeros(len(boxes))
    overlap = box_iou(objects, corners_of(boxes))
    best, owner = overlap.max(0)
    best_box = overlap.argmax(1)
    best[best_box], owner[best_box] = 2.0, torch.arange(len(objects), device=owner.device)
    wanted = torch.where(best > MATCH, labels[owner], 0)
    return encode(objects[owner], boxes), wanted


def ssd_loss(predicted: tuple[Tensor, Tensor], offsets: Tensor, labels: Tensor) -> Tensor:
    """The mean over images of (localisation + classification) per matched box.

    ``predicted`` are offsets (N, 8732, 4) and logits (N, 8732, labels); ``offsets`` and ``labels``
    are what `match` gives, stacked.
    """
    matched = labels > 0
    count = matched.sum(1)
    place = smooth_l1_loss(predicted[0], offsets, reduction="none").sum(2)
    kind = cross_entropy(predicted[1].transpose(1, 2), labels, reduction="none")
    hard = kind.detach().masked_fill(matched, 0).argsort(1, descending=True).argsort(1)
    negative = hard < NEGATIVES * count[:, None]
    total = (place * matched).sum(1) + (kind * (matched | negative)).sum(1)
    return (total / count.clamp(min=1)).mean()
