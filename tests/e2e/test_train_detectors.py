"""Detectors trained through the bridge: after pruning, and pruned while they are trained."""

from __future__ import annotations

import inspect
import re
import shutil
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import repeat
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import numpy_helper

import reprune_onnx as rp

torch = pytest.importorskip("torch", reason="the recipes need PyTorch")
pytest.importorskip("torchvision", reason="the recipes need torchvision")

from models.bridged import part
from models.export import Recipe, export
from models.schedules import SCHEDULES, Schedule
from models.train_detector import HowToTrain, train_detector
from reprune_onnx.errors import ModelError, TrainingError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.training.plan import PrunePlan

SMALL = Recipe(min_size=96, proposals=20, detections=10)
SIZES = {
    "min_size": 96,
    "box_batch_size_per_image": 16,
    "rpn_batch_size_per_image": 32,
    "rpn_post_nms_top_n_train": 50,
}
MASK = "maskrcnn_resnet50_fpn"
SSD = "ssd300_resnet50"


def test_what_the_document_shows_is_a_call_of_it(root, demo, tmp_path, monkeypatch):
    """Bound to the parameters; to run it takes days."""
    asked = []

    def called(*arguments, **named):
        asked.append(inspect.signature(train_detector).bind(*arguments, **named).arguments)
        return SimpleNamespace(model=arguments[0])

    monkeypatch.setattr("models.train_detector.train_detector", called)
    monkeypatch.chdir(tmp_path)
    shutil.copy(demo, "ssd-pruned.onnx")
    text = (root / "docs" / "paper.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(compile(block, "docs/paper.md", "exec"), {"batches": []})
    assert asked[0]["how"].schedule == SCHEDULES[SSD].shortened(24_000)
    assert (tmp_path / "ssd-trained.onnx").is_file()


def batch(side: int, n: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """``n`` images with the same two objects each."""
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.7], [0.5, 0.4, 0.95, 0.9]]) * side
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = [
        (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)
        for x1, y1, x2, y2 in boxes.tolist()
    ]
    masks = torch.stack(inside).to(torch.uint8)
    target = {"boxes": boxes, "labels": torch.tensor([3, 17]), "masks": masks}
    images = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))
    return list(images), [target] * n


def schedule(name: str, steps: int) -> Schedule:
    """The paper's, at one rate at which a single batch is learned from random weights."""
    rate = {SSD: 1e-2, MASK: 1e-3}[name]
    return replace(SCHEDULES[name].shortened(steps), lr=rate, milestones=())


def pruned(network: rp.Model, cut: float, shape: tuple[int, ...]) -> rp.Model:
    entry = network.proto.graph.input[0].name
    settings = rp.Settings(
        macs_reduction=cut,
        include=("*backbone*",),
        method="l1",
        residual="inner",
        recover="none",
        verify=False,
        input_shapes=((entry, shape),),
    )
    return rp.prune(network, settings).model


def tensors(model: rp.Model) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}


@pytest.fixture(scope="module")
def mask() -> rp.Model:
    return rp.Model(export(MASK, SMALL))


def check_learned(model: rp.Model, trained: rp.Model, frozen: tuple[str, ...]) -> None:
    """Same nodes, same shapes; of the backbone exactly what is not frozen has changed."""
    assert trained.proto.graph.node == model.proto.graph.node
    old, new = tensors(model), tensors(trained)
    assert {k: v.shape for k, v in old.items()} == {k: v.shape for k, v in new.items()}
    weights = [k for k in old if k.startswith("backbone.") and old[k].ndim == 4]
    still = {k for k in weights if any(fnmatchcase(k, glob) for glob in frozen)}
    assert len(weights) >= 40
    assert {k for k in weights if np.array_equal(old[k], new[k])} == still


def test_training_ssd300_halves_the_loss_and_writes_the_backbone_back():
    model = pruned(rp.Model(export(SSD)), 0.7, (1, 3, 300, 300))
    how = HowToTrain(schedule(SSD, 8))
    torch.manual_seed(0)
    trained = train_detector(model, repeat(batch(300, 2)), how)
    assert len(trained.losses) == 8
    assert min(trained.losses[-3:]) < trained.losses[0] / 2
    check_learned(model, trained.model, ())


def test_training_mask_rcnn_halves_the_loss_and_writes_the_backbone_back(mask):
    model = pruned(mask, 0.4, (3, 96, 96))
    how = HowToTrain(schedule(MASK, 14), options=SIZES)
    torch.manual_seed(0)  # torchvision draws which proposals it learns from
    trained = train_detector(model, repeat(batch(96, 1)), how)
    assert len(trained.losses) == 14
    assert min(trained.losses[-3:]) < trained.losses[0] / 2
    check_learned(model, trained.model, how.schedule.frozen)


def test_a_backbone_is_pruned_while_its_detector_is_trained(mask):
    settings = rp.Settings(
        sparsity=0.4,
        method="reprune",
        residual="inner",
        recover="none",
        include=("*backbone*",),
        input_shapes=(("image", (3, 96, 96)),),
    )
    plan = PrunePlan(settings, prune_epochs=2)
    how = HowToTrain(schedule(MASK, 5), plan, SIZES)
    torch.manual_seed(0)
    trained = train_detector(mask, repeat(batch(96, 1)), how)
    assert len(trained.losses) == 5
    report = trained.report
    assert report["verification"]["passed"]
    narrow = [x for x in report["layers"] if x["sparsity"] > 0]
    assert all("backbone" in x["node"] for x in narrow)
    lost = sum(a - b for a, b in (x["out_channels"] for x in report["layers"]))
    free = [x for x in report["layers"] if "/conv1/" in x["node"] or "/conv2/" in x["node"]]
    free = [x for x in free if "/body/layer" in x["node"]]
    assert lost / sum(x["out_channels"][0] for x in free) == pytest.approx(0.4, abs=0.03)
    old = {k: torch.from_numpy(v.copy()) for k, v in tensors(mask).items()}
    old, new = rp.apply_cuts(report, old), tensors(trained.model)
    weights = {k for k in old if k.startswith("backbone.") and old[k].ndim == 4}
    assert all(old[k].shape == new[k].shape for k in weights)
    still = {k for k in weights if any(fnmatchcase(k, glob) for glob in how.schedule.frozen)}
    assert {k for k in weights if np.array_equal(old[k].numpy(), new[k])} == still
    session = Session(trained.model.proto, optimize=True)
    image = np.random.default_rng(0).random((3, 96, 128)).astype(np.float32)
    assert len(session.run({"image": image})["boxes"]) > 0


def test_what_cannot_be_trained_is_one_line(mask):
    steep = replace(schedule(MASK, 9), lr=1e9)
    with pytest.raises(TrainingError, match=r"the loss is .* at step \d+: lower the rate"):
        train_detector(mask, repeat(batch(96, 1)), HowToTrain(steep, options=SIZES))
    other = rp.Model(export("resnet20"))
    with pytest.raises(ModelError, match=r"no Conv of the model is called '\*backbone\*'"):
        part(other)
