"""SSD300's 8,732 default boxes (Liu et al. 2016), and boxes coded relative to them."""

from __future__ import annotations

from itertools import product
from math import sqrt

import torch
from torch import Tensor

IMAGE = 300
SIDES = (38, 19, 10, 5, 3, 1)  # of the six feature maps
STEPS = (8, 16, 32, 64, 100, 300)  # pixels between neighbours on each of them
SCALES = (21, 45, 99, 153, 207, 261, 315)  # sides in pixels
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
PER_PLACE = (4, 6, 6, 6, 4, 4)
CENTRE, SIZE = 0.1, 0.2  # what offsets and logarithms of sizes are divided by


def default_boxes() -> Tensor:
    """The boxes (8732, 4) as centre x, y, width, height, in units of the image's side."""
    boxes: list[tuple[float, float, float, float]] = []
    for level, side in enumerate(SIDES):
        small, large = SCALES[level] / IMAGE, SCALES[level + 1] / IMAGE
        sizes = [(small, small), (sqrt(small * large),) * 2]
        for ratio in RATIOS[level]:
            w, h = small * sqrt(ratio), small / sqrt(ratio)
            sizes += [(w, h), (h, w)]
        places = IMAGE / STEPS[level]
        for (w, h), i, j in product(sizes, range(side), range(side)):
            boxes.append(((j + 0.5) / places, (i + 0.5) / places, w, h))
    return torch.tensor(boxes).clamp(0, 1)


def decode(offsets: Tensor, boxes: Tensor) -> Tensor:
    """Offsets (…, 8732, 4) to corners x1, y1, x2, y2, in units of the image's side."""
    centre = boxes[:, :2] + CENTRE * offsets[..., :2] * boxes[:, 2:]
    half = boxes[:, 2:] * torch.exp(SIZE * offsets[..., 2:]) / 2
    return torch.cat((centre - half, centre + half), -1)


def encode(corners: Tensor, boxes: Tensor) -> Tensor:
    """Corners (8732, 4) of one box per default box to offsets; the inverse of `decode`."""
    centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    offsets = (centre - boxes[:, :2]) / (CENTRE * boxes[:, 2:])
    return torch.cat((offsets, torch.log(size / boxes[:, 2:]) / SIZE), 1)


def corners_of(boxes: Tensor) -> Tensor:
    """Centre, width and height (n, 4) as corners."""
    return torch.cat((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1)
