"""A small one-stage detector of digits on a scene: a box and ten scores at every fourth pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss

from models.digits import Block, export
from models.scene_training import fitted
from models.scenes import Scenes

WIDTHS = (12, 24, 32)
STRIDE = 4  # pixels between two places at which boxes are told
REACH = 4.0  # pixels: places as near to the middle of a box tell it
CLASSES = 10
THRESHOLD, OVERLAP = 0.1, 0.5
EPOCHS = 16


class SceneDetector(nn.Module):
    """Stem and residual blocks to a quarter of the sides; heads for scores and for boxes."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(1, a, 3, 2, padding=1, bias=False), nn.BatchNorm2d(a), nn.ReLU()
        )
        self.blocks = nn.Sequential(Block(a, b, 1), Block(b, c, 2), Block(c, c, 1), Block(c, c, 1))
        self.scores, self.sides = (
            nn.Sequential(
                nn.Conv2d(c, c, 3, padding=1, bias=False),
                nn.BatchNorm2d(c),
                nn.ReLU(),
                nn.Conv2d(c, n, 1),
            )
            for n in (CLASSES, 4)
        )
        nn.init.constant_(self.scores[-1].bias, -4.0)  # most places hold nothing

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (N, 1, h, w) in [0, 1] to logits and boxes.

        Logits are (N, h/4 · w/4, 10), boxes (N, h/4 · w/4, 4) x1, y1, x2, y2 in pixels.
        """
        features = self.blocks(self.stem(x))
        logits = self.scores(features).flatten(2).transpose(1, 2)
        distances = 8 * torch.exp(self.sides(features)).flatten(2).transpose(1, 2)
        at = places(features.shape[2], features.shape[3])
        return logits, torch.cat([at - distances[..., :2], at + distances[..., 2:]], -1)


class WithBoxes(nn.Module):
    """A detector with its post-processing: the boxes of one image that are left behind NMS."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (1, 1, h, w) to boxes (d, 4), labels (d,) from 1 and scores (d,), best first."""
        logits, boxes = self.net(image)
        scores, labels = logits[0].sigmoid().max(1)
        above = torch.nonzero(scores > THRESHOLD).flatten()
        boxes, labels, scores = boxes[0][above], labels[above], scores[above]
        kept = batched_nms(boxes, scores, labels, OVERLAP)
        return boxes[kept], labels[kept] + 1, scores[kept]


def places(h: int, w: int) -> Tensor:
    """Return the middles (h · w, 2) x, y of the cells, in pixels."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * STRIDE


def answers(boxes: Tensor, digits: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return for scenes (N, 3, …) which object each of the places ``at`` tells, and its class.

    Objects are (N, p) numbers 0 to 2; classes are (N, p) digits, or -1 where nothing is told.
    """
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    far = (middles[:, :, None] - at).abs().amax(-1)  # (N, 3, p)
    distance, which = far.min(1)
    return which, torch.where(distance <= REACH, digits.gather(1, which), -1)


def write(trained: Scenes, tested: Scenes, folder: Path) -> str:
    """Train, write ``scenes_detector.onnx``, and return a line on how good it is."""
    boxes, digits = torch.from_numpy(trained.boxes).float(), torch.from_numpy(trained.digits)
    side = trained.x.shape[-1] // STRIDE
    which, classes = answers(boxes, digits, places(side, side))

    def loss(made: tuple[Tensor, Tensor], scenes: Tensor) -> Tensor:
        logits, told = made
        objects = classes[scenes] >= 0
        wanted = functional.one_hot(classes[scenes].clamp(min=0), CLASSES) * objects[..., None]
        true_boxes = boxes[scenes].gather(1, which[scenes][..., None].expand(-1, -1, 4))
        scored = functional.binary_cross_entropy_with_logits(
            logits, wanted.float(), reduction="sum"
        )
        placed = generalized_box_iou_loss(told[objects], true_boxes[objects], reduction="sum")
        return (scored + placed) / objects.sum()

    torch.manual_seed(0)
    net = fitted(SceneDetector(), torch.from_numpy(trained.x) / 255, loss, EPOCHS)
    detector = WithBoxes(net).eval()
    names = ("boxes", "labels", "scores")
    export(detector, folder / "scenes_detector.onnx", tuple(tested.x[:1].shape), names)
    return f"detector: {_hits(detector, tested):.1f} % of the digits are told, with their box"


def _hits(detector: nn.Module, tested: Scenes) -> float:
    """Return the percentage of objects that are among the best three detections (IoU 0.5)."""
    hits = 0
    for x, truth, digits in zip(tested.x, tested.boxes, tested.digits, strict=True):
        with torch.no_grad():
            boxes, labels, _ = detector(torch.from_numpy(x[None]) / 255)
        overlap = box_iou(torch.from_numpy(truth).float(), boxes[:3])
        same = torch.from_numpy(digits)[:, None] + 1 == labels[:3]
        hits += int(((overlap > 0.5) & same).any(1).sum())
    return 100 * hits / np.prod(tested.digits.shape)
