"""`prune --recover distill`: least squares, and then epochs towards the original's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="distillation needs PyTorch")

import text_graphs

import reprune_onnx as rp
from reprune_onnx import pipeline
from reprune_onnx.cli import main
from reprune_onnx.errors import ModelError, TrainingError, UsageError
from reprune_onnx.model import load
from reprune_onnx.training import distilled as module
from reprune_onnx.training import needs_torch
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.distilled import CutMix, _pasted, _split, _taught
from reprune_onnx.training.examples import HeldExamples

MODELS = Path(__file__).resolve().parents[3] / "models"
DIGITS = MODELS / "digits_resnet.onnx"
SETTINGS = rp.Settings(
    macs_reduction=0.94,
    method="l1",
    calibration=f"{MODELS / 'digits.npz'}:x_train",
    calibration_size=600,
    preprocess="scale=1/16",
    recover="distill",
    distill_epochs=12,
    min_channels=1,
)


@pytest.fixture(scope="module")
def both() -> tuple[rp.Pruned, rp.Pruned]:
    """The demo without most of its multiply-adds, by least squares and distilled."""
    fitted = rp.prune(DIGITS, replace(SETTINGS, recover="least-squares"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SETTINGS", replace(module._SETTINGS, lr=0.01))
        return fitted, rp.prune(DIGITS, SETTINGS)


def test_distillation_brings_the_outputs_nearer_than_least_squares(both):
    fitted, distilled = (pruned.report["recovery"] for pruned in both)
    told = distilled["distillation"]
    assert distilled["method"] == "distill"
    assert fitted["distillation"] is None
    assert told["epochs"] == 12
    assert told["held_out"] == 60
    assert 0 < told["kept_epoch"] <= 12
    assert told["loss_after"] < told["loss_before"]
    assert distilled["samples"] == 600


def test_graph_names_and_cut_are_those_of_least_squares(both):
    fitted, distilled = (pruned.model.proto for pruned in both)
    assert [n.SerializeToString() for n in distilled.graph.node] == [
        n.SerializeToString() for n in fitted.graph.node
    ]
    assert {(t.name, *t.dims) for t in distilled.graph.initializer} == {
        (t.name, *t.dims) for t in fitted.graph.initializer
    }
    assert both[0].report["cuts"] == both[1].report["cuts"]


def test_statistics_of_batch_normalization_stay(both):
    """They are what least squares left; scale and shift are trained."""
    nodes = [n for n in both[0].model.proto.graph.node if n.op_type == "BatchNormalization"]
    held = [{t.name: t for t in pruned.model.proto.graph.initializer} for pruned in both]
    statistics = [name for n in nodes for name in n.input[3:5]]
    assert statistics
    for name in statistics:
        assert held[0][name].SerializeToString() == held[1][name].SerializeToString()


def test_the_result_is_never_worse_than_least_squares(monkeypatch):
    """At such a rate nothing but ruin is learned."""
    settings = replace(module._SETTINGS, lr=300.0)
    monkeypatch.setattr(module, "_SETTINGS", settings)
    fitted = rp.prune(DIGITS, replace(SETTINGS, recover="least-squares"))
    pruned = rp.prune(DIGITS, replace(SETTINGS, distill_epochs=1))
    told = pruned.report["recovery"]["distillation"]
    assert (told["kept_epoch"], told["kept_share"]) == (0, 0.0)
    assert told["loss_after"] == told["loss_before"]
    assert values(pruned.model) == values(fitted.model)


def values(model: rp.Model) -> list[bytes]:
    return [t.SerializeToString() for t in model.proto.graph.initializer]


def test_what_was_pruned_before_is_distilled_too(both, tmp_path):
    small = tmp_path / "small.onnx"
    rp.save(both[0].model, small)
    settings = replace(SETTINGS, macs_reduction=None, keep=both[0].report)
    again = rp.recover(DIGITS, small, settings)
    told = again.report["recovery"]["distillation"]
    assert told["epochs"] == 12
    assert told["loss_after"] <= told["loss_before"]
    assert again.report["settings"]["recover"] == "distill"


def test_attempts_of_a_search_are_judged_without_training(monkeypatch):
    calls = []
    real = module.distilled
    monkeypatch.setattr(module, "distilled", lambda *a: calls.append(a) or real(*a))
    pruned = rp.prune(DIGITS, replace(SETTINGS, macs_reduction=0.7, search=2.0, distill_epochs=1))
    assert pruned.report["search"]["attempts"] > 1
    assert len(calls) == 1


def test_the_command_tells_what_came_of_it(tmp_path, capsys):
    out, data = tmp_path / "o.onnx", f"{MODELS / 'digits.npz'}:x_train"
    options = ["--macs-reduction", "0.9", "--method", "l1", "--preprocess", "scale=1/16"]
    options += ["--calibration", data, "--calibration-size", "320"]
    options += ["--recover", "distill", "--distill-epochs", "2"]
    with pytest.raises(SystemExit, match="0"):
        main(["prune", str(DIGITS), "-o", str(out), *options])
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 epochs" in printed
    assert "32 images held back" in printed
    assert load(out).bytes > 0


# ── what is refused, before anything is measured ────────────────────────────────────────────


@pytest.fixture
def unmeasured(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("nothing is measured before it is known that training can follow")

    monkeypatch.setattr(pipeline, "measure", refuse)


def test_without_pytorch_it_says_what_to_install(monkeypatch, unmeasured):
    monkeypatch.setattr(needs_torch, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"--recover distill needs torch.*pip install"):
        rp.prune(DIGITS, SETTINGS)


def test_an_op_that_the_bridge_lacks_is_named_first(unmeasured):
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,8,8] x) => (float[] y) {
        a = Conv <pads = [1,1,1,1]> (x, w)  r = Relu (a)  b = Conv (r, v)
        [odd] y = Bernoulli (b) }"""
    proto = text_graphs.model(text, w=np.ones((6, 3, 3, 3)), v=np.ones((4, 6, 1, 1)))
    images = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    settings = replace(SETTINGS, macs_reduction=0.3, calibration=images, preprocess=None)
    with pytest.raises(ModelError, match="Bernoulli"):
        rp.prune(rp.Model(proto), settings)


def test_images_are_needed():
    with pytest.raises(UsageError, match="--recover distill needs images"):
        rp.prune(DIGITS, rp.Settings(sparsity=0.5, recover="distill"))


def test_at_least_one_epoch():
    with pytest.raises(UsageError, match="--distill-epochs 0 must be at least 1"):
        replace(SETTINGS, distill_epochs=0)


@pytest.mark.parametrize(("n", "judged"), [(8, 2), (100, 25), (320, 32), (1000, 100)])
def test_images_that_judge_are_not_learned_from(n, judged):
    examples = HeldExamples("some", torch.zeros(n, 1), None)
    learned, judging = _split(examples)
    assert len(judging) == judged
    assert sorted([*learned.index, *judging.index]) == list(range(n))


# ── parts ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("end", "taught"),
    [
        ("y = Softmax (f)", "f"),
        ("y = Sigmoid (f)", "f"),
        ("y = Identity (f)", "y"),
        ("s = Softmax (f)  y = Identity (s)", "f"),
    ],
)
def test_logits_are_compared_and_not_probabilities(end, taught):
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,4,4] x) => (float[] y) {{
        p = GlobalAveragePool (x)  f = Flatten (p)  {end} }}"""
    model = rp.Model(text_graphs.model(text))
    (name,) = _taught(model, torch.zeros(2, 3, 4, 4))
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(torch_module(model, [name])(x), torch_module(model, [taught])(x))


@pytest.mark.parametrize("shape", [(4, 3, 10, 12), (4, 10, 12, 3)])
def test_a_box_shows_the_next_image(shape):
    x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(shape).clone()
    for seed in range(20):
        mixed = _pasted(x, torch.Generator().manual_seed(seed))
        other = mixed != x
        assert torch.equal(mixed[other], x.roll(1, 0)[other])
        channels, sides = (1, (2, 3)) if shape[1] == 3 else (3, (1, 2))
        seen = other.float().mean(channels)  # the box is the same in all channels
        assert set(seen.unique().tolist()) <= {0.0, 1.0}
        rows, columns = (seen[0].any(axis) for axis in (1, 0))
        assert seen[0].sum() == rows.sum() * columns.sum()  # it is a box
        assert x.shape[sides[0]] == 10


def test_a_step_is_mixed_alike_whenever_it_is_taken():
    class Steps:
        steps = 3

        def epoch(self, epoch: int, start: int):
            for k in range(start, 3):
                torch.manual_seed(10 * epoch + k)
                yield torch.randn(4, 3, 8, 8), None

    feed = CutMix(Steps(), seed=5)
    every = [x for x, _ in feed.epoch(2, 0)]
    later = [x for x, _ in feed.epoch(2, 1)]
    assert feed.steps == 3
    assert all(torch.equal(a, b) for a, b in zip(every[1:], later, strict=True))
