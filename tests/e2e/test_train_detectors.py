"""Detectors trained through the bridge, and the pieces of SSD's loss."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import repeat

import numpy as np
import pytest
from onnx import numpy_helper

import reprune_onnx as rp

torch = pytest.importorskip("torch", reason="the recipes need PyTorch")
pytest.importorskip("torchvision", reason="the recipes need torchvision")

from models.default_boxes import corners_of, decode, default_boxes, encode  # noqa: E402
from models.export import Recipe, export  # noqa: E402
from models.schedules import SCHEDULES  # noqa: E402
from models.ssd_loss import match, ssd_loss  # noqa: E402
from models.train_detector import train_detector  # noqa: E402


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


def objects(side: int, masks: bool) -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.7], [0.5, 0.4, 0.95, 0.9]]) * side
    target = {"boxes": boxes, "labels": torch.tensor([3, 17])}
    if masks:
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        inside = [
            (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)
            for x1, y1, x2, y2 in boxes.tolist()
        ]
        target["masks"] = torch.stack(inside).to(torch.uint8)
    return [target]


SMALL = {
    "min_size": 96,
    "box_batch_size_per_image": 16,
    "rpn_batch_size_per_image": 32,
    "rpn_post_nms_top_n_train": 50,
}
CASES = {
    "ssd300_resnet50": (300, 2, 12, 1e-2, {}),
    "maskrcnn_resnet50_fpn": (96, 1, 12, 1e-2, SMALL),
}


@pytest.mark.parametrize("name", CASES)
def test_training_halves_the_loss_and_writes_the_backbone_back(name):
    side, n, steps, lr, options = CASES[name]
    size = {"min_size": options["min_size"]} if "min_size" in options else {}
    whole = rp.Model(export(name, Recipe(**size)))
    entry = whole.proto.graph.input[0].name
    settings = rp.Settings(
        macs_reduction=0.6,
        include=("*backbone*",),
        method="l1",
        residual="inner",
        recover="none",
        verify=False,
        input_shapes=((entry, (1, 3, side, side)[-len(dims(whole)) :]),),
    )
    model = rp.prune(whole, settings).model
    images = list(torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)))
    batch = images, objects(side, masks=bool(options)) * n
    schedule = replace(SCHEDULES[name].shortened(steps), lr=lr, milestones=())
    torch.manual_seed(0)  # torchvision draws which proposals it learns from
    trained, losses = train_detector(model, repeat(batch), schedule, **options)

    assert len(losses) == steps <= 50
    assert min(losses[-3:]) < losses[0] / 2
    assert trained.proto.graph.node == model.proto.graph.node
    old, new = (
        {t.name: numpy_helper.to_array(t) for t in m.proto.graph.initializer}
        for m in (model, trained)
    )
    assert {k: v.shape for k, v in old.items()} == {k: v.shape for k, v in new.items()}
    weights = [k for k in old if k.startswith("backbone.") and old[k].ndim == 4]
    frozen = {k for k in weights if any(fnmatchcase(k, glob) for glob in schedule.frozen)}
    assert len(weights) >= 40
    assert {k for k in weights if np.array_equal(old[k], new[k])} == frozen


def dims(model: rp.Model) -> list[object]:
    return list(model.proto.graph.input[0].type.tensor_type.shape.dim)
