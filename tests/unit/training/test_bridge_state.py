"""What the bridge trains, what follows the batches, what it writes back, and under which names."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import reprune_onnx as rp
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from reprune_onnx.training.bridge import torch_module, write_back

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]>\n'
X = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32))


def model(body: str, opset: int = 13, **weights: np.ndarray) -> rp.Model:
    proto = parser.parse_model(HEAD.replace("{opset}", str(opset)) + body)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return rp.Model(proto)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def sgd_step(module, x=X) -> None:
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(x).square().mean().backward()
    optimizer.step()
    module.eval()


def agrees(written: rp.Model, module, x=X) -> None:
    """ONNX Runtime on the written file computes what the module computes."""
    name = module.input_names[0]
    (expected,) = Session(written.proto, optimize=False).run({name: x.numpy()}).values()
    with torch.no_grad():
        outputs = module(x).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


CONV_BN = """
g (float[N, 3, 8, 8] x) => (float[N, 5, 8, 8] y) {
  c = Conv <pads = [1, 1, 1, 1]> (x, w)
  b = BatchNormalization <momentum = 0.8> (c, gamma, beta, mean, var)
  y = Relu (b)
}
"""
BN = {
    "w": random(5, 3, 3, 3),
    "gamma": np.ones(5, np.float32),
    "beta": random(5),
    "mean": random(5),
    "var": np.ones(5, np.float32),
}


def test_live_batch_normalisation_trains_and_updates_its_statistics():
    source = model(CONV_BN, **BN)
    module = torch_module(source)
    assert set(dict(module.named_parameters())) == {"w", "gamma", "beta"}
    assert set(module.state_dict()) == {"w", "gamma", "beta", "mean", "var"}
    with torch.no_grad():
        c = torch.nn.functional.conv2d(X, torch.from_numpy(BN["w"]), padding=1)
    sgd_step(module)
    batch_mean, batch_var = c.mean((0, 2, 3)), c.var((0, 2, 3), unbiased=True)
    state = module.state_dict()
    torch.testing.assert_close(state["mean"], 0.8 * torch.from_numpy(BN["mean"]) + 0.2 * batch_mean)
    torch.testing.assert_close(state["var"], 0.8 + 0.2 * batch_var)
    assert all((state[n] != torch.from_numpy(BN[n])).any() for n in ("w", "gamma", "beta"))
    agrees(write_back(source, module), module)


def test_a_module_in_eval_mode_leaves_statistics_alone():
    module = torch_module(model(CONV_BN, **BN))
    with torch.no_grad():
        module(X)
    np.testing.assert_array_equal(module.state_dict()["mean"].numpy(), BN["mean"])


def test_what_has_not_changed_keeps_its_bytes(demo):
    source = rp.load(demo)
    module = torch_module(source)
    assert write_back(source, module).proto == source.proto
    with torch.no_grad():
        next(module.parameters()).add_(1.0)
    written = write_back(source, module).proto
    before = {t.name: t.SerializeToString() for t in source.proto.graph.initializer}
    after = {t.name: t.SerializeToString() for t in written.graph.initializer}
    assert sum(before[n] != after[n] for n in before) == 1
    assert list(written.graph.node) == list(source.proto.graph.node)


def test_weights_of_constant_nodes_are_trained_and_written_where_they_are():
    values = ", ".join(str(v) for v in random(2, 3, 3, 3).ravel())
    body = """g (float[N, 3, 8, 8] x) => (float[N, 2, 6, 6] y) {
      w = Constant <value = float[2, 3, 3, 3] {VALUES}> ()
      b = Constant <value_floats = [0.5, -0.5]> ()
      y = Conv (x, w, b)
    }"""
    source = model(body.replace("VALUES", values))
    module = torch_module(source)
    assert set(dict(module.named_parameters())) == {"w", "b"}
    sgd_step(module)
    written = write_back(source, module)
    assert not written.proto.graph.initializer
    assert [n.op_type for n in written.proto.graph.node] == ["Constant", "Constant", "Conv"]
    agrees(written, module)


def test_a_weight_that_two_nodes_share_is_one_parameter():
    source = model(
        """g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, w)
          y = Conv <pads = [1, 1, 1, 1]> (a, w)
        }""",
        w=random(3, 3, 3, 3) * np.float32(0.1),
    )
    module = torch_module(source)
    assert len(list(module.parameters())) == 1
    sgd_step(module)
    agrees(write_back(source, module), module)


def test_gradients_reach_a_weight_through_what_the_graph_computes_from_it():
    """Weight standardisation: the file holds w, the Conv reads (w - mean) / deviation."""
    source = model(
        """g (float[N, 3, 8, 8] x) => (float[N, 4, 6, 6] y) {
          mean = ReduceMean <axes = [1, 2, 3]> (w)
          centred = Sub (w, mean)
          squares = Mul (centred, centred)
          var = ReduceMean <axes = [1, 2, 3]> (squares)
          safe = Add (var, eps)
          deviation = Sqrt (safe)
          standard = Div (centred, deviation)
          y = Conv (x, standard)
        }""",
        w=random(4, 3, 3, 3),
        eps=np.array(1e-5, np.float32),
    )
    module = torch_module(source)
    assert set(dict(module.named_parameters())) == {"w"}
    before = module.state_dict()["w"].clone()
    sgd_step(module)
    assert (module.state_dict()["w"] != before).all()
    agrees(write_back(source, module), module)


def test_only_what_belongs_to_a_layer_is_trained():
    """The mean before the first layer, a grid and single numbers stay; a bias node is trained."""
    source = model(
        """g (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y) {
          n = Sub (x, image_mean)
          c = Conv <pads = [1, 1, 1, 1]> (n, w)
          s = Mul (c, scale)
          b = Add (s, bias)
          h = Mul (b, factor)
          r = Relu (h)
          y = Add (r, grid)
        }""",
        w=random(2, 3, 3, 3),
        image_mean=random(1, 3, 1, 1),
        scale=random(2, 1, 1),
        bias=random(1, 2, 1, 1),
        factor=np.array([0.5], np.float32),
        grid=random(1, 1, 8, 8),
    )
    module = torch_module(source)
    assert set(dict(module.named_parameters())) == {"w", "scale", "bias"}
    assert {"image_mean", "factor", "grid"} <= set(module.state_dict())


def test_half_precision_is_trained_in_single_and_written_in_half():
    source = model(
        """g (float16[N, 3, 8, 8] x) => (float16[N, 4, 6, 6] y) { y = Conv (x, w, b) }""",
        w=random(4, 3, 3, 3).astype(np.float16),
        b=random(4).astype(np.float16),
    )
    module = torch_module(source)
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert write_back(source, module).proto == source.proto
    sgd_step(module)
    written = write_back(source, module).proto
    assert {t.data_type for t in written.graph.initializer} == {onnx.TensorProto.FLOAT16}
    with torch.no_grad():
        next(module.parameters()).fill_(1e6)
    with pytest.raises(ModelError, match="'w' has values beyond the range of float16"):
        write_back(source, module)


@pytest.mark.parametrize(
    "name", ["layer1.0.conv.weight", "a..b", ".lead", "mode", "weight", "x:0", "/a/b", "train.w"]
)
def test_any_name_is_the_key_of_the_state(name):
    source = model(CONV_BN, **{"w": BN["w"], **BN})
    for tensor in source.proto.graph.initializer:
        tensor.name = name if tensor.name == "w" else tensor.name
    source.proto.graph.node[0].input[1] = name
    module = torch_module(source)
    assert list(module.values()) == [name, "gamma", "beta", "mean", "var"]
    assert set(module.state_dict()) == {name, "gamma", "beta", "mean", "var"}
    other = torch_module(source)
    sgd_step(module)
    other.load_state_dict(module.state_dict(), strict=True)
    torch.testing.assert_close(other(X), module(X))
    assert write_back(source, module).proto.graph.initializer[0].name == name


def test_a_prefix_of_another_name_is_no_conflict():
    source = model(
        """g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, w)
          y = Conv <pads = [1, 1, 1, 1]> (a, v)
        }""",
        w=random(3, 3, 3, 3),
        v=random(3, 3, 3, 3),
    )
    for tensor, node, new in zip(
        source.proto.graph.initializer, source.proto.graph.node, ("net", "net.w"), strict=True
    ):
        tensor.name = node.input[1] = new
    module = torch_module(source)
    assert set(module.state_dict()) == {"net", "net.w"}
    agrees(write_back(source, module), module)


def test_dropout_drops_in_training_only():
    source = model(
        """g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {
          c = Conv (x, w)
          y = Dropout (c)
        }""",
        w=random(3, 3, 1, 1),
    )
    module = torch_module(source)
    torch.manual_seed(0)
    with torch.no_grad():
        assert (module(X) != 0).all()
        dropped = (module.train()(X) == 0).float().mean()
    assert 0.4 < dropped < 0.6


STATIC = """
g (float[1, 3, 8, 8] x) => (float[1, 4] y) {
  c = Conv <pads = [1, 1, 1, 1]> (x, w)
  p = GlobalAveragePool (c)
  y = Reshape (p, shape)
}
"""


def test_a_file_of_batch_one_takes_larger_batches():
    weights = {"w": random(4, 3, 3, 3), "shape": np.array([1, -1])}
    module = torch_module(model(STATIC, **weights))
    with torch.no_grad():
        singles = torch.cat([module(X[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(module(X), singles)


def test_where_a_larger_batch_does_not_go_in_the_node_is_named():
    body = STATIC.replace("Reshape (p, shape)", "Add (p, p)").replace("[1, 4] y", "[1, 4, 1, 1] y")
    body = body.replace("p = GlobalAveragePool (c)", "p = Gather (c, first)")
    body = body.replace("y = Add (p, p)", "q = Reshape (p, shape)\n  y = Relu (q)")
    weights = {
        "w": random(4, 3, 3, 3),
        "first": np.array([0]),
        "shape": np.array([1, 7, -1]),
    }
    module = torch_module(model(body, **weights))
    with pytest.raises(ModelError, match=r"Reshape 'Reshape_2' does not take a batch of 4"):
        module(X)


def test_part_of_a_graph_needs_only_the_ops_of_that_part():
    source = model(
        """g (float[N, 3, 8, 8] x) => (float[N, 2, 6, 6] y) {
          c = Conv (x, w)
          y = MaxUnpool <kernel_shape = [2, 2]> (c, i)
        }""",
        w=random(2, 3, 3, 3),
        i=np.zeros((1, 2, 3, 3), np.int64),
    )
    with pytest.raises(ModelError, match="MaxUnpool 'MaxUnpool_1': the PyTorch bridge has no op"):
        torch_module(source)
    with torch.no_grad():
        assert torch_module(source, ["c"])(X).shape == (4, 2, 6, 6)


def test_another_models_values_are_refused(demo):
    source = rp.load(demo)
    module = torch_module(source)
    small = rp.prune(source, rp.Settings(sparsity=0.5, recover="none")).model
    with pytest.raises(ModelError, match="they belong to different models"):
        write_back(small, module)
    other = model(CONV_BN, **{"w": BN["w"], **BN})
    with pytest.raises(ModelError, match="the module holds 'w', which the file does not"):
        write_back(source, torch_module(other))
