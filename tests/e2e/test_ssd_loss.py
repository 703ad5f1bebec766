"""What trains detectors: default boxes, SSD's loss, the paper's schedules."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the recipes need PyTorch")
pytest.importorskip("torchvision", reason="the recipes need torchvision")

from models.default_boxes import corners_of, decode, default_boxes, encode
from models.schedules import SCHEDULES
from models.ssd_loss import match, ssd_loss


def test_default_boxes_are_8732_and_offsets_are_relative_to_them():
    boxes = default_boxes()
    assert boxes.shape == (8732, 4)
    assert boxes[0].tolist() == pytest.approx([4 / 300, 4 / 300, 21 / 300, 21 / 300])
    assert boxes[-1, 2:].min() > 0.5  # the last map has one place, and large boxes
    moved = torch.randn(8732, 4, generator=torch.Generator().manual_seed(0)) * 0.5
    corners = decode(moved, boxes)
    assert torch.allclose(encode(corners, boxes), moved, atol=1e-4)
    assert torch.allclose(decode(torch.zeros(8732, 4), boxes), corners_of(boxes), atol=1e-6)


def test_every_object_is_matched_and_the_right_answer_costs_least():
    boxes = default_boxes()
    objects = torch.tensor([[0.1, 0.1, 0.15, 0.13], [0.2, 0.3, 0.8, 0.9]])  # one overlaps no half
    offsets, labels = match(objects, torch.tensor([7, 3]), boxes)
    assert set(labels.unique().tolist()) == {0, 3, 7}
    there = decode(offsets, boxes)[labels == 3]
    assert torch.allclose(there, objects[1].expand_as(there), atol=1e-5)
    none = match(objects[:0], torch.zeros(0, dtype=torch.long), boxes)
    assert none[1].sum() == 0
    logits = torch.zeros(1, 8732, 81)
    right = logits.scatter(2, labels[None, :, None], 20.0)
    wanted = offsets[None], labels[None]
    assert ssd_loss((offsets[None], right), *wanted) < 1e-3
    worse = ssd_loss((offsets[None], logits), *wanted)
    assert worse.item() == pytest.approx(4 * np.log(81), rel=1e-3)  # 3 negatives per match
    assert ssd_loss((offsets[None] + 1, right), *wanted) == pytest.approx(2.0, rel=1e-3)


def test_schedules_are_the_papers():
    ssd, mask = SCHEDULES["ssd300_resnet50"], SCHEDULES["maskrcnn_resnet50_fpn"]
    assert [ssd.rate(s) for s in (0, 160_000, 200_000)] == pytest.approx([2.6e-3, 2.6e-4, 2.6e-5])
    assert [mask.rate(s) for s in (0, 100_000, 140_000)] == pytest.approx([4e-2, 4e-3, 4e-4])
    assert (ssd.batch, ssd.weight_decay, mask.batch, mask.weight_decay) == (64, 5e-4, 32, 1e-4)
