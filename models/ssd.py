"""SSD300 with ResNet-50, after NVIDIA's DeepLearningExamples: the backbone ends with conv4.

Liu et al. 2016, with a ResNet-50 up to its third stage, whose stride is 1, so that a 300x300 image
gives 38x38 features; five more stages of features, and two convolutions on each of the six.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import resnet50
from torchvision.ops import batched_nms

from models.default_boxes import IMAGE, PER_PLACE, decode, default_boxes

LABELS = 81  # 80 categories of COCO in the order of their ids, from 1; 0 is background
CHANNELS = (1024, 512, 512, 256, 256, 256)
INNER = (256, 256, 128, 128, 128)  # channels between two feature maps
OVERLAP = 0.5  # of two boxes of a label, above which NMS drops the worse one


class SSD300(nn.Module):
    """Normalised images (N, 3, 300, 300) to offsets (N, 8732, 4) and logits (N, 8732, 81)."""

    outputs = ("offsets", "logits")

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(resnet50(weights=None).children())[:7])
        first = self.backbone[6][0]
        for conv in (first.conv1, first.conv2, first.downsample[0]):
            conv.stride = (1, 1)
        self.additional_blocks = nn.ModuleList(
            _stage(CHANNELS[k], INNER[k], CHANNELS[k + 1], halve=k < 3) for k in range(5)
        )
        widths = tuple(zip(CHANNELS, PER_PLACE, strict=True))
        self.loc = nn.ModuleList(nn.Conv2d(n, 4 * k, 3, padding=1) for n, k in widths)
        self.conf = nn.ModuleList(nn.Conv2d(n, LABELS * k, 3, padding=1) for n, k in widths)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The predictions for every default box."""
        features = [self.backbone(images)]
        for stage in self.additional_blocks:
            features.append(stage(features[-1]))
        offsets = [_rows(head(x), 4) for head, x in zip(self.loc, features, strict=True)]
        logits = [_rows(head(x), LABELS) for head, x in zip(self.conf, features, strict=True)]
        return torch.cat(offsets, 1), torch.cat(logits, 1)


def _stage(n_in: int, inner: int, n_out: int, *, halve: bool) -> nn.Sequential:
    how = {"padding": 1, "stride": 2} if halve else {}
    return nn.Sequential(
        nn.Conv2d(n_in, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, n_out, 3, bias=False, **how),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    )


def _rows(y: Tensor, n: int) -> Tensor:
    """(N, n·k, h, w) to (N, k·h·w, n): the channels are n values of k boxes each."""
    return y.flatten(2).reshape(y.shape[0], n, -1).transpose(1, 2)


class Plain(nn.Module):
    """An SSD300 without what a subclass adds; the tensors have the same names."""

    outputs = SSD300.outputs

    def __init__(self, net: SSD300) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The predictions for every default box."""
        return SSD300.forward(self.net, images)


class SSD300Detector(SSD300):
    """SSD300 with what surrounds it: one image of any size to boxes in pixels, labels and scores.

    The normalised image (1, 3, h, w) is resized to 300x300. Of every label the boxes with a score
    above ``threshold``, at most ``candidates`` of all, then NMS within the label, then the best
    ``most``.
    """

    outputs = ("boxes", "labels", "scores")

    def __init__(self, threshold: float = 0.05, most: int = 200, candidates: int = 1000) -> None:
        super().__init__()
        self.threshold, self.most, self.candidates = threshold, most, candidates
        self.register_buffer("default_boxes", default_boxes(), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Boxes (d, 4) x1, y1, x2, y2; labels (d,) from 1; scores (d,), descending."""
        sides = torch._shape_as_tensor(images)[[3, 2, 3, 2]].float()
        image = interpolate(images, (IMAGE, IMAGE), mode="bilinear", align_corners=False)
        offsets, logits = super().forward(image)
        corners = decode(offsets[0], self.default_boxes).clamp(0, 1) * sides
        scores = logits[0].softmax(1)[:, 1:].flatten()
        above = torch.nonzero(scores > self.threshold).flatten()
        scores = scores[above]
        many = torch.minimum(torch._shape_as_tensor(scores)[0], torch.tensor(self.candidates))
        scores, best = scores.topk(many)
        chosen = above[best]
        boxes, labels = corners[chosen // (LABELS - 1)], chosen % (LABELS - 1) + 1
        kept = batched_nms(boxes, scores, labels, OVERLAP)[: self.most]
        return boxes[kept], labels[kept], scores[kept]
