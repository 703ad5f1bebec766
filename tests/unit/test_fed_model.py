"""Models whose weights are fed compute what the loaded ones compute."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reprune_onnx.model import copy_emptied
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.fed_model import FedModel

rng = np.random.default_rng(0)
X = rng.normal(size=(1, 40, 6, 6))


def two_readers(kind=TensorProto.FLOAT, ir_version=8):
    """z = Conv(Conv(x, W), W) with one large W, its small bias, and an unread weight."""
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    W = rng.normal(size=(40, 40, 1, 1)).astype(dtype) / 6
    weights = {"W": W, "b": np.ones(40, dtype), "unread": W}
    shape = [1, 40, "h", "w"]
    initializers = [numpy_helper.from_array(a, name) for name, a in weights.items()]
    if kind in (TensorProto.DOUBLE, TensorProto.BFLOAT16):
        initializers = [
            helper.make_tensor(name, kind, a.shape, a.ravel()) for name, a in weights.items()
        ]
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    if ir_version < 4:
        inputs += [helper.make_tensor_value_info(n, kind, a.shape) for n, a in weights.items()]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "W", "b"], ["y"], "first"),
            helper.make_node("Conv", ["y", "W", "b"], ["z"], "second"),
        ],
        "two readers",
        inputs,
        [helper.make_tensor_value_info("z", kind, shape)],
        initializers,
        doc_string="kept",
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=ir_version)
    model.metadata_props.add(key="a", value="b")
    return model


@pytest.mark.parametrize("ir_version", [3, 8])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_fed_weights_compute_what_loaded_ones_do(kind, ir_version):
    model = two_readers(kind, ir_version)
    before = model.SerializeToString()
    fed = FedModel(model).session(["z"])
    x = X.astype(np.float16 if kind == TensorProto.FLOAT16 else np.float32)
    assert [port.name for port in fed.inputs] == ["x"]
    expected = Session(model, optimize=False).run({"x": x})["z"]
    np.testing.assert_allclose(fed.run({"x": x})["z"], expected, rtol=1e-2, atol=1e-3)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_other_types_run_as_float32(kind):
    fed = FedModel(two_readers(kind)).session(["z"])
    assert fed.run({"x": X.astype(np.float32)})["z"].dtype == np.float32


def test_a_rewired_input_is_that_of_one_node_in_one_copy():
    model = FedModel(two_readers())
    x = {"x": X.astype(np.float32)}
    before = model.session(["y", "z"]).run(x)
    other = model.copy()
    other.rewire(other.proto.graph.node[1], 1, np.zeros((40, 40, 1, 1), np.float32))
    outputs = other.session(["y", "z"]).run(x)
    np.testing.assert_array_equal(outputs["y"], before["y"])
    np.testing.assert_array_equal(outputs["z"], np.ones((1, 40, 6, 6), np.float32))
    np.testing.assert_array_equal(model.session(["y", "z"]).run(x)["z"], before["z"])


def test_large_weights_are_not_in_what_is_loaded():
    assert FedModel(two_readers()).proto.ByteSize() < 1500


def test_a_copy_with_emptied_weights_is_otherwise_the_same():
    model = two_readers()
    model.graph.initializer[0].doc_string = "a weight"
    copy = copy_emptied(model, {"W"})
    assert [t.name for t in copy.graph.initializer] == ["W", "b", "unread"]
    assert (copy.graph.initializer[0].doc_string, copy.graph.initializer[0].raw_data) == (
        "a weight",
        b"",
    )
    copy.graph.initializer[0].CopyFrom(model.graph.initializer[0])
    assert copy == model
    assert copy_emptied(model, ()) == model
    assert isinstance(copy, onnx.ModelProto)
