"""The recipes of the paper's networks: what they cost, real checkpoints, the cuts of the paper."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.errors import ModelError, UsageError

torch = pytest.importorskip("torch", reason="the recipes need PyTorch")
pytest.importorskip("torchvision", reason="the recipes need torchvision")

from models.catalog import NETWORKS
from models.count import macs_and_params
from models.export import Recipe, export
from reprune_onnx.runtime.ort import Session

PAPER = {
    "method": "reprune",
    "coverage": "count",
    "cutoff": "merge-count",
    "tie_break": "random",
    "allocation": "bn-gamma",
    "residual": "inner",
    "recover": "none",
}


def state_of(proto: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """The floating-point tensors of a file, as a PyTorch state."""
    return {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
        for t in proto.graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT
    }


@cache
def network(name: str) -> rp.Model:
    """A network of seeded random weights and distinct γ, made once."""
    return rp.Model(export(name))


def output(proto: onnx.ModelProto, side: int) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((2, 3, side, side)).astype(np.float32)
    session = Session(proto, optimize=False)
    return session.run({session.inputs[0].name: x})[session.outputs[0].name]


@pytest.mark.parametrize("name", NETWORKS)
def test_unpruned_networks_cost_what_the_paper_says(name):
    macs, params = macs_and_params(NETWORKS[name])
    published = NETWORKS[name].published
    if published:
        assert macs == pytest.approx(published, rel=0.03)
    if name == "ssd300_resnet50":
        assert params == pytest.approx(22.9e6, rel=0.01)  # NVIDIA's
    assert params > 1e5


def test_the_list_is_a_table_and_json(root):
    command = [sys.executable, "-m", "models"]
    result = subprocess.run(
        [*command, "--json"], cwd=root, capture_output=True, text=True, check=True
    )
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows] == list(NETWORKS)
    assert set(rows[0]) == {"name", "macs", "params", "input_shape", "source"}
    again = ["export", "resnet57", "-o", "x.onnx"]
    result = subprocess.run(
        [*command, *again], cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("models: no network 'resnet57' (did you mean 'resnet56'?)")
    nowhere = ["export", "resnet56", "-o", "nowhere/x.onnx"]
    result = subprocess.run(
        [*command, *nowhere], cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "models: cannot write 'nowhere/x.onnx': there is no folder 'nowhere'\n"


def test_seeded_weights_are_the_same_and_gamma_is_distinct():
    first, again = export("mobilenet_v2_cifar"), export("mobilenet_v2_cifar")
    assert first == again
    other = export("mobilenet_v2_cifar", Recipe(seed=1))
    assert other != first
    gammas = [
        numpy_helper.to_array(t)
        for n in first.graph.node
        if n.op_type == "BatchNormalization"
        for t in first.graph.initializer
        if t.name == n.input[1]
    ]
    assert len(gammas) == 52
    pool = np.concatenate(gammas)
    assert len(np.unique(pool)) > 0.99 * len(pool)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_cifar"])
def test_folded_networks_compute_the_same(name):
    live, folded = export(name), export(name, Recipe(fold=True))
    kinds = {n.op_type for n in folded.graph.node}
    assert "BatchNormalization" not in kinds
    assert any(n.op_type == "BatchNormalization" for n in live.graph.node)
    a, b = output(live, 32), output(folded, 32)
    assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()


@pytest.mark.parametrize("wrapped", [False, True])
def test_checkpoints_of_cifar_resnets_load(tmp_path, wrapped):
    source = export("resnet20", Recipe(seed=5))
    state = state_of(source)
    if wrapped:  # DataParallel, the usual wrapper, and a counter
        state = {f"module.{name}": value for name, value in state.items()}
        state["module.bn1.num_batches_tracked"] = torch.tensor(3)
        state = {"state_dict": state, "best_prec1": 91.7, "epoch": 3}
    torch.save(state, tmp_path / "x.th")
    exported = export("resnet20", Recipe(weights=str(tmp_path / "x.th")))
    assert np.array_equal(output(exported, 32), output(source, 32))


def test_a_checkpoint_with_projected_shortcuts_makes_that_network(tmp_path):
    from models.resnet_cifar import Variant, resnet

    source = resnet(20, 7, Variant(project=True, random_norms=True, classes=100))
    names = {".shortcut.conv.": ".downsample.0.", ".shortcut.bn.": ".downsample.1."}
    state = {}
    for name, value in state_of(source).items():
        other = name.replace("linear.", "fc.")
        for ours, theirs in names.items():
            other = other.replace(ours, theirs)
        state[other] = value
    torch.save(state, tmp_path / "x.pt")
    exported = export("resnet20", Recipe(weights=str(tmp_path / "x.pt")))
    assert output(exported, 32).shape == (2, 100)
    assert np.array_equal(output(exported, 32), output(source, 32))


def test_a_torchvision_checkpoint_loads(tmp_path):
    from models.classifiers import mobilenet_v2_cifar

    net = mobilenet_v2_cifar().eval()
    torch.save({"model": net.state_dict()}, tmp_path / "x.pth")
    exported = export("mobilenet_v2_cifar", Recipe(weights=str(tmp_path / "x.pth")))
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    assert np.abs(output(exported, 32) - expected).max() < 1e-4


def test_what_is_no_checkpoint_of_the_network_is_one_line(tmp_path):
    other = tmp_path / "other.pth"
    torch.save(state_of(export("resnet20")), other)
    with pytest.raises(ModelError, match=r"not a checkpoint of resnet56: .* such as 'layer1.3"):
        export("resnet56", Recipe(weights=str(other)))
    with pytest.raises(ModelError, match="not a checkpoint of mobilenet_v2_cifar"):
        export("mobilenet_v2_cifar", Recipe(weights=str(other)))
    with pytest.raises(ModelError, match="there is no checkpoint"):
        export("resnet20", Recipe(weights=str(tmp_path / "no.pth")))
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        export("resnet20", Recipe(weights=str(tmp_path / "text.pth")))
    torch.save(Path("code"), tmp_path / "code.pth")  # an object that is no tensor
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        export("resnet20", Recipe(weights=str(tmp_path / "code.pth")))
    with pytest.raises(UsageError, match="torchvision has no weights of resnet56"):
        export("resnet56", Recipe(weights="torchvision"))
    with pytest.raises(UsageError, match="is no detector"):
        export("resnet20", Recipe(post=False))


CUTS = [
    ("resnet18", 0.4309),
    ("resnet34", 0.25),
    ("resnet34", 0.444),
    ("resnet50", 0.439),
    ("resnet50", 0.5609),
    ("resnet50", 0.756),
    ("resnet56", 0.4757),
    ("resnet56", 0.6038),
    ("mobilenet_v2_cifar", 0.4324),
    ("mobilenet_v2_cifar", 0.5608),
]


@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_the_cuts_of_the_paper_are_reached_exactly(name, cut):
    """Those of the detectors' backbones: test_paper_detectors.py."""
    report = rp.prune(network(name), rp.Settings(macs_reduction=cut, **PAPER)).report
    assert report["achieved"]["macs_reduction"] == pytest.approx(cut, abs=0.01)
    proof = report["verification"]
    assert proof["passed"]
    assert proof["max_abs_diff"] / proof["scale"] < 1e-5
    sources = {x["gamma_source"] for x in report["layers"] if x["bn"]}
    assert sources == {"bn"}
    widths = [x["out_channels"] for x in report["layers"] if x["sparsity"] > 0]
    assert len(widths) > 5
    assert len({round(after / before, 2) for before, after in widths}) > 2  # γ decides, not uniform


@pytest.mark.parametrize(("name", "cut"), [("resnet110", 0.49), ("resnet18", 0.418)])
def test_the_cuts_of_the_older_method_are_reached(name, cut):
    settings = rp.Settings(macs_reduction=cut, **{**PAPER, "method": "representative"})
    report = rp.prune(network(name), settings).report
    assert report["achieved"]["macs_reduction"] == pytest.approx(cut, abs=0.01)
    assert report["verification"]["passed"]
    assert sum(x["sparsity"] > 0 for x in report["layers"]) >= 8


def test_equal_gamma_says_nothing_and_the_tool_says_so():
    fresh = rp.Model(export("resnet20", Recipe(fresh=True)))
    report = rp.prune(fresh, rp.Settings(macs_reduction=0.5, **PAPER)).report
    assert any("all |γ| are equal" in note for note in report["notes"])
    assert report["achieved"]["macs_reduction"] == pytest.approx(0.5, abs=0.03)
    assert report["verification"]["passed"]
