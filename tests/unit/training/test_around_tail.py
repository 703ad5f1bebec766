"""Training a model that ends in operators which ONNX Runtime lacks."""

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from tests.unit.runtime.test_tail import TAILS, network

RNG = np.random.default_rng(0)
CLASSES = network(
    "p = GlobalAveragePool (c2)\n f = Flatten (p)\n y = com.foo.Decide (f)",
    "int64[N] y",
    imports=', "com.foo" : 1',
)
CLASSES.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.npz"
    x = RNG.standard_normal((48, 3, 8, 8)).astype(np.float32)
    np.savez(path, x=x, y=np.arange(48) % 6)
    return path


def written(path, like):
    before, after = like.proto.graph, onnx.load(path).graph
    assert list(after.output) == list(before.output)
    assert after.node[-1] == before.node[-1]
    pairs = zip(before.initializer, after.initializer, strict=True)
    return any(a.raw_data != b.raw_data for a, b in pairs)


def test_finetune_trains_up_to_the_tail_and_writes_the_whole_file(call, tmp_path, data):
    model, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(CLASSES.proto, model)
    how = ("--epochs", 2, "--preprocess", "none", "--batch-size", 16, "--lr", 0.01)
    result = call("finetune", model, "--data", data, *how, "--keep-epoch", "last", "-o", out)
    assert result.code == 0, result.err
    assert "ONNX Runtime lacks com.foo.Decide 'y': the model is run up to 'f'" in result.out
    assert written(out, CLASSES), "values were trained"


def test_finetune_is_taught_at_the_tensors_that_enter_the_tail(call, tmp_path, data):
    like = TAILS["a plugin in a domain"][0]
    model, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(like.proto, model)
    small = tmp_path / "small.onnx"
    pruned = call("prune", model, "-o", small, "--sparsity", 0.5, "--recover", "none")
    assert pruned.code == 0, pruned.err
    how = ("--epochs", 1, "--preprocess", "none", "--batch-size", 16, "--keep-epoch", "last")
    result = call("finetune", small, "--data", f"{data}:x,", "--distill", model, *how, "-o", out)
    assert result.code == 0, result.err
    assert onnx.load(out).graph.node[-1].op_type == "EfficientNMS_TRT"


def test_train_prunes_and_reports_the_whole_file(call, tmp_path, data):
    model, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(CLASSES.proto, model)
    how = ("--sparsity", 0.5, "--epochs", 3, "--prune-epochs", 1, "--interval", 1)
    result = call("train", model, "--data", data, *how, "--preprocess", "none", "-o", out)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["after"]["bytes"] == out.stat().st_size
    assert any(note.startswith("ONNX Runtime lacks com.foo.Decide") for note in report["notes"])
    verified = call("verify", model, out)
    assert verified.code == 0, verified.err
    assert onnx.load(out).graph.node[-1].op_type == "Decide"
