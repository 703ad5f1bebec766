"""Mask R-CNN with ResNet-50-FPN: torchvision's, with BatchNormalization that stays in the file."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn

OUTPUTS = ("boxes", "labels", "scores", "masks")


def maskrcnn(**options: Any) -> MaskRCNN:
    """torchvision's detector with 91 labels (COCO's category ids) and its initial weights.

    ``options`` are torchvision's: ``min_size``, ``max_size``, ``box_score_thresh``, ….
    """
    return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **options)


def soften(detector: MaskRCNN) -> None:
    """Make the features of random weights as small as trained ones.

    The pyramid's convolutions have no normalisation behind them: with large features one label
    would get all of the softmax, and every box would be clipped to the whole image.
    """
    for block in detector.backbone.fpn.layer_blocks:
        for part in block.parameters():
            part.data *= 0.05


class WithoutPost(nn.Module):
    """The detector without what follows the region proposal head: no NMS, no RoIAlign.

    Normalised images (N, 3, h, w), h and w multiples of 32, to the features of the five levels
    (N, 256, ·, ·), then each level's objectness (N, 3, ·, ·), then its box deltas (N, 12, ·, ·).
    """

    outputs = tuple(f"{kind}{k}" for kind in ("features", "objectness", "deltas") for k in range(5))

    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.rpn = nn.ModuleDict({"head": detector.rpn.head})

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The 15 tensors."""
        features = list(self.backbone(images).values())
        objectness, deltas = self.rpn["head"](features)
        return (*features, *objectness, *deltas)
