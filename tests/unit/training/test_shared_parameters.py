"""Parameters that an exporter wrote once for several BatchNormalization are trained apart."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")
import torch
from text_graphs import model as from_text

import reprune_onnx as rp
from reprune_onnx.analyzer.copies import copies
from reprune_onnx.data.open import open_data
from reprune_onnx.pruner.earlier import read_report
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.files import verify

TEXT = """<ir_version: 8, opset_import: ["": 17]>
    net (float[n,3,6,6] x) => (float[n,6] y) {
      am = Identity (zero)
      av = Identity (one)
      s = Identity (one)
      b = Identity (zero)
      m = Identity (zero)
      v = Identity (s)
      a1 = Conv (x, a_w)
      a2 = BatchNormalization (a1, one, zero, am, av)
      a3 = Relu (a2)
      b1 = Conv (a3, b_w)
      b2 = BatchNormalization (b1, s, b, m, v)
      b3 = GlobalAveragePool (b2)
      y = Flatten (b3)
    }"""


@pytest.fixture
def shared(tmp_path: Path) -> rp.Model:
    """A network as PyTorch's TorchScript exporter writes one that was never trained."""
    rng = np.random.default_rng(0)
    weights = {"a_w": rng.normal(size=(6, 3, 3, 3)), "b_w": rng.normal(size=(6, 6, 3, 3))}
    path = tmp_path / "shared.onnx"
    onnx.save(from_text(TEXT, **weights, one=np.ones(6), zero=np.zeros(6)), path)
    return rp.load(path)


def trained(model: rp.Model) -> tuple[rp.Model, torch.nn.Module]:
    """The model after a few steps that move statistics and weights."""
    torch.manual_seed(0)
    module = rp.torch_module(model).train()
    rate = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        rate.zero_grad()
        (module(torch.randn(8, 3, 6, 6)) - 1).square().mean().backward()
        rate.step()
    return rp.write_back(model, module), module.eval()


def test_the_file_computes_what_was_trained(shared: rp.Model) -> None:
    result, module = trained(shared)
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)
    outputs = Session(result.proto, optimize=False).run({"x": x})["y"]
    np.testing.assert_allclose(outputs, module(torch.from_numpy(x)).detach(), atol=1e-5)
    original = Session(shared.proto, optimize=False).run({"x": x})["y"]
    assert np.abs(outputs - original).max() > 0.1


def test_every_node_has_statistics_of_its_own(shared: rp.Model) -> None:
    one, zero = ("av", "s", "v"), ("am", "b", "m")
    assert copies(shared.proto) == {**dict.fromkeys(one, "one"), **dict.fromkeys(zero, "zero")}
    result, module = trained(shared)
    values = {name: v.detach().numpy() for name, v in module.values().items()}
    assert {"one", "zero", *one, *zero} <= values.keys()
    for a, b in combinations(one, 2):
        assert not np.allclose(values[a], values[b])
    assert {t.name for t in result.proto.graph.initializer} >= {"a_w", "b_w", *values}
    rest = [n for n in shared.proto.graph.node if n.op_type != "Identity"]
    assert list(result.proto.graph.node) == rest


def test_before_ir_4_a_copy_becomes_a_constant(shared: rp.Model) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(shared.proto)
    proto.ir_version = 3
    for t in shared.proto.graph.initializer:
        info = onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        proto.graph.input.append(info)
    result, module = trained(rp.Model(proto))
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)
    outputs = Session(result.proto, optimize=False).run({"x": x})["y"]
    np.testing.assert_allclose(outputs, module(torch.from_numpy(x)).detach(), atol=1e-5)
    assert [n.op_type for n in result.proto.graph.node].count("Constant") == 6
    assert [v.name for v in result.proto.graph.input] == [v.name for v in proto.graph.input]


def test_what_was_not_trained_stays_a_copy(shared: rp.Model) -> None:
    assert rp.write_back(shared, rp.torch_module(shared)).proto == shared.proto


def test_a_trained_file_still_has_the_structure_of_its_cut(shared: rp.Model, tmp_path) -> None:
    pruned = rp.prune(shared, rp.Settings(sparsity=0.5, recover="none", allocation="uniform"))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(pruned.report))
    result, _ = trained(pruned.model)
    proof = verify(shared, result, read_report(path))
    assert proof.result is None
    assert proof.changed > 0


def test_a_file_that_was_pruned_while_it_trained_has_the_structure_of_its_cut(
    shared: rp.Model, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    np.savez(
        tmp_path / "x.npz",
        x=rng.integers(0, 255, (16, 3, 6, 6), dtype=np.uint8),
        y=np.arange(16) % 6,
    )
    shape = (None, 3, 6, 6)
    name = str(tmp_path / "x.npz")
    data = open_data(name, preprocess=None, input_shape=shape, dtype=np.float32)
    plan = rp.PrunePlan(rp.Settings(sparsity=0.5), prune_epochs=1, interval=1)
    result = rp.train(shared, rp.Task(data), rp.TrainSettings(epochs=2, batch_size=8), plan)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(result.report))
    proof = verify(shared, result.model, read_report(path))
    assert proof.result is None
    assert proof.changed > 0
