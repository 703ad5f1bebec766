"""Fine-tuning networks of several inputs, and of inputs that are no images, from arrays by name."""

import json

import numpy as np
import onnx
import pytest
from text_graphs import model as parsed

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import DataError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.model import load
from reprune_onnx.training.bridge import torch_module
from reprune_onnx.training.examples import read_examples
from reprune_onnx.training.feed import StreamFeed
from reprune_onnx.training.teacher import RememberedAnswers

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (INPUTS) => (float[N,2] y) '
STEPS = ("--epochs", "3", "--batch-size", "16", "--lr", "0.2", "--weight-decay", "0", "-q")
HEADS = "f = Relu (j) y = Gemm (f, w2, b2)"
RNG = np.random.default_rng(5)


def normal(*shape, scale=0.5):
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


def rows(n, *shape):
    return normal(n, *shape, scale=1.0)


# inputs, body and weights of each network, and its arrays for n samples
NETS = {
    "two vectors": (
        "float[N,3] a, float[N,2] b",
        "{ c = Concat <axis = 1> (a, b) j = Gemm (c, w1, b1) " + HEADS + " }",
        {"w1": normal(5, 8), "b1": normal(8), "w2": normal(8, 2), "b2": normal(2)},
        lambda n: {"b": rows(n, 2), "a": rows(n, 3)},  # not in the graph's order
    ),
    "an image and a class": (
        "float[N,1,4,4] picture, int64[N] kind",
        "{ h = Conv <kernel_shape = [3, 3]> (picture, w1) q = Relu (h) m = GlobalAveragePool (q)"
        " i = Flatten (m) e = Gather (t, kind) j = Concat <axis = 1> (i, e) " + HEADS + " }",
        {"w1": normal(6, 1, 3, 3), "t": normal(3, 4), "w2": normal(10, 2), "b2": normal(2)},
        lambda n: {"picture": rows(n, 1, 4, 4), "kind": RNG.integers(0, 3, n)},
    ),
    "a table's columns": (
        "float[N,4] x",
        "{ j = Gemm (x, w1, b1) " + HEADS + " }",
        {"w1": normal(4, 8), "b1": normal(8), "w2": normal(8, 2), "b2": normal(2)},
        lambda n: {"x": rows(n, 4)},
    ),
    "a signal": (
        "float[N,1,12] x",
        "{ h = Conv <kernel_shape = [3]> (x, w1) q = Relu (h) m = GlobalAveragePool (q)"
        " j = Flatten (m) " + HEADS + " }",
        {"w1": normal(6, 1, 3), "w2": normal(6, 2), "b2": normal(2)},
        lambda n: {"x": rows(n, 1, 12)},
    ),
}

AT_FIRST = RNG.bit_generator.state
OTHERS = dict(zip(NETS, [*list(NETS)[1:], *NETS], strict=False))
"""Another network for each."""


@pytest.fixture(autouse=True)
def the_same_numbers():
    """Whichever tests run before."""
    RNG.bit_generator.state = AT_FIRST


def written(tmp_path, name):
    inputs, body, weights, _ = NETS[name]
    onnx.save(parsed(HEAD.replace("INPUTS", inputs) + body, **weights), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def answers(path, arrays):
    """What the file gives for the arrays, which go to its inputs by name."""
    with torch.no_grad():
        return torch_module(load(path))({k: torch.from_numpy(v) for k, v in arrays.items()})


@pytest.mark.parametrize("name", NETS)
def test_pruned_then_taught(name, tmp_path, call):
    """Prune, which proves the cut, then learn the original's answers without labels."""
    original, arrays = written(tmp_path, name), NETS[name][3](64)
    np.savez(tmp_path / "d.npz", **arrays)
    cut, out = tmp_path / "p.onnx", tmp_path / "o.onnx"
    assert (
        call("prune", original, "--sparsity", "0.5", "--recover", "none", "-o", cut, "-q").code == 0
    )
    result = call("finetune", cut, "--data", tmp_path / "d.npz", *STEPS, "-o", out)
    assert result.code == 0, result.err
    log = json.loads((tmp_path / "o.training.json").read_text())
    assert log["result"]["scores"]["val_loss"] < log["start"]["val_loss"]
    wanted, before, after = (answers(path, arrays) for path in (original, cut, out))
    assert (after - wanted).square().mean() < (before - wanted).square().mean()
    assert list(onnx.load(out).graph.node) == list(onnx.load(cut).graph.node)
    report = ("--report", tmp_path / "p.report.json")
    verified = call("verify", original, out, *report)
    assert verified.code == 0, verified.err
    assert "trained since" in verified.out, verified.out
    other = written(tmp_path, OTHERS[name])
    assert call("verify", other, out, *report).code == 1


@pytest.mark.parametrize("name", NETS)
def test_pruned_while_it_trains(name, tmp_path, call):
    """Algorithm 2 from labels: what is written has fewer channels, learned them, and is proven."""
    original, arrays = written(tmp_path, name), NETS[name][3](64)
    sure = answers(original, arrays) @ torch.tensor([-1.0, 1.0])
    y = (sure > sure.median()).numpy().astype(np.int64)  # as many of one class as of the other
    np.savez(tmp_path / "d.npz", y=y, **arrays)
    out = tmp_path / "o.onnx"
    how = ("--sparsity", "0.5", "--interval", "1", "--prune-epochs", "1", "-o", out)
    result = call("train", original, "--data", tmp_path / "d.npz", *STEPS, *how)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "o.report.json").read_text())
    assert report["verification"]["passed"]
    assert report["after"]["params"] < report["before"]["params"]
    assert call("verify", original, out).code == 0
    right = answers(out, arrays).argmax(1).numpy() == y
    scores = json.loads((tmp_path / "o.training.json").read_text())["result"]["scores"]
    assert right.mean() > 0.6
    assert 100 * right.mean() == pytest.approx(scores["val_top1"], abs=1e-3)


@pytest.mark.parametrize("name", ["two vectors", "an image and a class"])
def test_labels_beside_several_inputs(name, tmp_path, call):
    original, arrays = written(tmp_path, name), NETS[name][3](64)
    y = 1 - answers(original, arrays).argmax(1).numpy()  # all wrong at first
    np.savez(tmp_path / "d.npz", y=y, **arrays)
    more = ("--distill", "none", "-o", tmp_path / "o.onnx")
    result = call("finetune", original, "--data", tmp_path / "d.npz", *STEPS, *more)
    assert result.code == 0, result.err
    right = answers(tmp_path / "o.onnx", arrays).argmax(1).numpy() == y
    assert right.mean() > 0.5


def test_an_input_without_an_array(tmp_path, call):
    original = written(tmp_path, "two vectors")
    np.savez(tmp_path / "d.npz", a=rows(8, 3))
    out = ("--distill", "none", "-o", tmp_path / "o.onnx")
    result = call("finetune", original, "--data", tmp_path / "d.npz", *out)
    assert result.code == 1
    assert "no array 'b', but the model has 2 inputs" in result.err


def test_whole_numbers_are_not_mixed(tmp_path, call):
    original = written(tmp_path, "an image and a class")
    np.savez(tmp_path / "d.npz", y=RNG.integers(0, 2, 32), **NETS["an image and a class"][3](32))
    more = ("--distill", "none", "--mixup", "0.2", "-o", tmp_path / "o.onnx")
    result = call("finetune", original, "--data", tmp_path / "d.npz", *STEPS, *more)
    assert result.code == 1
    assert "--mixup mixes images, and " in result.err
    assert " holds whole numbers" in result.err


def test_a_teacher_of_other_inputs(tmp_path, call):
    """The original's inputs go by name, so they have to be the model's."""
    original = written(tmp_path, "two vectors")
    text = HEAD.replace("INPUTS", "float[N,3] a, float[N,2] z")
    body = "{ c = Concat <axis = 1> (a, z) y = Gemm (c, w) }"
    onnx.save(parsed(text + body, w=normal(5, 2)), tmp_path / "other.onnx")
    np.savez(tmp_path / "d.npz", **NETS["two vectors"][3](8))
    more = ("--distill", tmp_path / "other.onnx", "-o", tmp_path / "o.onnx")
    result = call("finetune", original, "--data", tmp_path / "d.npz", *STEPS, *more)
    assert result.code == 1
    assert "--distill: the original has the inputs a, z, the model has a, b" in result.err


def test_types_of_several_inputs(tmp_path):
    proto = onnx.load(written(tmp_path, "an image and a class"))
    arrays = NETS["an image and a class"][3](6)
    examples = read_examples(open_for(proto, Wanted(InMemory("data", arrays), Reading()), {}))
    ((x, y),) = examples.batches([np.array([4, 1])], 0)
    assert y is None
    assert len(examples) == 6
    assert {name: tensor.dtype for name, tensor in x.items()} == {
        "picture": torch.float32,
        "kind": torch.int64,
    }
    for name, array in arrays.items():
        np.testing.assert_array_equal(x[name].numpy(), array[[4, 1]])


def test_answers_are_remembered_by_all_inputs():
    """Samples that differ in one input alone have answers of their own."""

    class Sums(torch.nn.Module):
        asked = 0

        def forward(self, x):
            self.asked += 1
            return x["a"].sum(1) + 10.0 * x["b"]

    teacher = Sums()
    remembering = RememberedAnswers(teacher)
    x = {"a": torch.ones(2, 3), "b": torch.tensor([1, 2])}
    for _ in range(2):
        assert remembering(x).tolist() == [13.0, 23.0]
    assert teacher.asked == 1
    assert remembering({"a": torch.ones(1, 3), "b": torch.tensor([3])}).tolist() == [33.0]


def test_batches_of_a_function_may_have_several_inputs():
    def batches():
        yield {"a": np.ones((2, 3)), "b": np.array([1, 2])}, np.zeros(2)

    feed = StreamFeed.of("batches", batches, torch.device("cpu"), (0, 1))
    ((x, _),) = feed.epoch(0, 0)
    assert (x["a"].dtype, x["b"].dtype) == (torch.float32, torch.int64)


def test_batches_of_a_function_need_a_pair():
    feed = StreamFeed.of("batches", lambda: iter([np.ones(2)]), torch.device("cpu"), (0, 1))
    with pytest.raises(DataError):
        next(feed.epoch(0, 0))
