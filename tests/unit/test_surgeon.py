"""The cut: what changes, what is duplicated, what is removed, and what survives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import dense

RNG = np.random.default_rng(7)


def prune_to(proto: onnx.ModelProto, tmp_path: Path, cuts: dict[str, list[int]]) -> rp.Pruned:
    """Keep these rows of axis 0 of the named weights."""
    file = tmp_path / "keep.json"
    listed = [{"initializer": n, "axis": 0, "keep": k} for n, k in cuts.items()]
    file.write_text(json.dumps({"cuts": listed}))
    return rp.prune(rp.Model(proto), rp.Settings(recover="none", keep=file, residual="prune"))


def tensors(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


STANDARDISED = """<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] x) => (float[1,2,8,8] y) {
  mean = ReduceMean <axes = [1, 2, 3]> (w)
  centred = Sub (w, mean)
  weight = Mul (centred, gain)
  c = Conv <pads = [1,1,1,1]> (x, weight)
  y = Conv (c, head)
}"""


def test_a_weight_that_the_graph_computes_is_written_down_and_cut(tmp_path: Path) -> None:
    w = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto = model(STANDARDISED, w=w, gain=np.float32(0.5), head=RNG.standard_normal((2, 4, 1, 1)))

    result = prune_to(proto, tmp_path, {"weight": [0, 2, 3]})

    values_left = tensors(result.model.proto)
    expected = 0.5 * (w - w.mean(axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(values_left["weight"], expected[[0, 2, 3]], atol=1e-6)
    assert set(values_left) == {"weight", "head"}, "what only computed the weight is gone"
    assert [n.op_type for n in result.model.proto.graph.node] == ["Conv", "Conv"]
    assert result.report["after"]["params"] == 3 * 27 + 2 * 3
    assert result.report["before"]["params"] == 4 * 27 + 2 * 4 + 1


def test_what_also_computes_something_else_stays(tmp_path: Path) -> None:
    text = STANDARDISED.replace("(float[1,2,8,8] y)", "(float[1,2,8,8] y, float[4,1,1,1] mean)")
    proto = model(
        text,
        w=RNG.standard_normal((4, 3, 3, 3)),
        gain=np.float32(0.5),
        head=RNG.standard_normal((2, 4, 1, 1)),
    )

    result = prune_to(proto, tmp_path, {"weight": [1, 2]})

    assert [n.op_type for n in result.model.proto.graph.node] == ["ReduceMean", "Conv", "Conv"]
    assert set(tensors(result.model.proto)) == {"w", "weight", "head"}


SHARED_BIAS = """<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] x) => (float[1,2,8,8] y) {
  a = Conv (x, a_w, zeros)
  b = Conv (a, b_w, zeros)
  y = Conv (b, head)
}"""


def test_a_constant_that_needs_two_cuts_is_copied_and_names_its_source(tmp_path: Path) -> None:
    proto = model(
        SHARED_BIAS,
        a_w=RNG.standard_normal((4, 3, 1, 1)),
        b_w=RNG.standard_normal((4, 4, 1, 1)),
        zeros=np.array([1.0, 2.0, 3.0, 4.0]),
        head=RNG.standard_normal((2, 4, 1, 1)),
    )

    result = prune_to(proto, tmp_path, {"a_w": [0, 3], "b_w": [1, 2, 3]})

    nodes = result.model.proto.graph.node
    values_left = tensors(result.model.proto)
    assert values_left[nodes[0].input[2]].tolist() == [1.0, 4.0]
    assert values_left[nodes[1].input[2]].tolist() == [2.0, 3.0, 4.0]
    copies = [c for c in result.report["cuts"] if "source" in c]
    assert [c["source"] for c in copies] == ["zeros"]
    assert copies[0]["initializer"] in {nodes[0].input[2], nodes[1].input[2]}


def test_a_constant_that_one_reader_needs_whole_keeps_its_name_there(tmp_path: Path) -> None:
    text = SHARED_BIAS.replace("y = Conv (b, head)", "z = Conv (b, head)\n  y = Add (z, zeros)")
    text = text.replace("float[1,2,8,8] y", "float[1,4,8,4] y").replace("8,8] x", "8,4] x")
    proto = model(
        text,
        a_w=RNG.standard_normal((4, 3, 1, 1)),
        b_w=RNG.standard_normal((4, 4, 1, 1)),
        zeros=np.array([1.0, 2.0, 3.0, 4.0]),
        head=RNG.standard_normal((4, 4, 1, 1)),
    )

    result = prune_to(proto, tmp_path, {"a_w": [0, 3]})

    nodes = result.model.proto.graph.node
    values_left = tensors(result.model.proto)
    assert [nodes[1].input[2], nodes[3].input[1]] == ["zeros", "zeros"]
    assert values_left["zeros"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert values_left[nodes[0].input[2]].tolist() == [1.0, 4.0]


def test_declared_shapes_of_activations_follow(tmp_path: Path) -> None:
    proto = model(
        SHARED_BIAS,
        a_w=RNG.standard_normal((4, 3, 1, 1)),
        b_w=RNG.standard_normal((4, 4, 1, 1)),
        zeros=np.zeros(4),
        head=RNG.standard_normal((2, 4, 1, 1)),
    )
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("a", 1, ["n", 4, 8, 8]))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("b", 1, [1, 4, 8, 8]))

    result = prune_to(proto, tmp_path, {"a_w": [0, 3]})

    a, b = result.model.proto.graph.value_info
    assert [d.dim_param or d.dim_value for d in a.type.tensor_type.shape.dim] == ["n", 2, 8, 8]
    assert [d.dim_value for d in b.type.tensor_type.shape.dim] == [1, 4, 8, 8]


def test_everything_else_survives(tmp_path: Path) -> None:
    proto = model(
        SHARED_BIAS,
        a_w=RNG.standard_normal((4, 3, 1, 1)),
        b_w=RNG.standard_normal((4, 4, 1, 1)),
        zeros=np.zeros(4),
        head=RNG.standard_normal((2, 4, 1, 1)),
        unused=np.arange(3.0),
    )
    proto.producer_name, proto.doc_string, proto.model_version = "them", "words", 12
    proto.graph.doc_string = "graph words"
    proto.metadata_props.add(key="author", value="somebody")
    proto.training_info.add().initialization.name = "of all four rows"
    proto.graph.node[0].name, proto.graph.node[0].doc_string = "first", "node words"
    for tensor in proto.graph.initializer:
        tensor.doc_string = f"about {tensor.name}"
    before = proto.SerializeToString(deterministic=True)

    after = prune_to(proto, tmp_path, {"a_w": [0, 3]}).model.proto

    assert proto.SerializeToString(deterministic=True) == before, "the input is not changed"
    assert (after.producer_name, after.doc_string, after.model_version) == ("them", "words", 12)
    assert after.graph.doc_string == "graph words"
    assert not after.training_info, "it is about the weights as they were"
    assert after.ir_version == 8
    assert after.opset_import == proto.opset_import
    assert ("author", "somebody") in [(p.key, p.value) for p in after.metadata_props]
    assert (after.graph.node[0].name, after.graph.node[0].doc_string) == ("first", "node words")
    kept = {t.name: t.doc_string for t in after.graph.initializer}
    assert all(kept[t.name] == t.doc_string for t in proto.graph.initializer)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_float_types_are_cut_and_verified(tmp_path: Path, dtype: str) -> None:
    code = {"float16": 10, "float64": 11, "bfloat16": 16}[dtype]
    proto = model(
        SHARED_BIAS,
        a_w=RNG.standard_normal((4, 3, 1, 1)),
        b_w=RNG.standard_normal((4, 4, 1, 1)),
        zeros=np.zeros(4),
        head=RNG.standard_normal((2, 4, 1, 1)),
    )
    numpy_type = onnx.helper.tensor_dtype_to_np_dtype(code)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(numpy_type)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = code

    result = prune_to(proto, tmp_path, {"a_w": [0, 3]})

    after = {t.name: t for t in result.model.proto.graph.initializer}
    assert {t.data_type for t in after.values()} == {code}
    original = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert numpy_helper.to_array(after["a_w"]).tobytes() == original["a_w"][[0, 3]].tobytes()
    assert result.report["verification"]["passed"]
    assert result.report["verification"]["negative_control"] > 0


def test_sparse_tensors_too_large_for_memory_lock_what_meets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "MOST", 8)
    text = SHARED_BIAS.replace("b = Conv (a, b_w, zeros)", "s = Mul (a, sparse)\n  b = Relu (s)")
    proto = model(
        text,
        a_w=RNG.standard_normal((4, 3, 1, 1)),
        zeros=np.zeros(4),
        head=RNG.standard_normal((2, 4, 1, 1)),
    )
    sparse = proto.graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.array([1.0], np.float32), "sparse"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([2], np.int64), "indices"))
    sparse.dims.extend([1, 4, 1, 1])

    with pytest.raises(rp.SelectionError, match="no channels that could go"):
        prune_to(proto, tmp_path, {"a_w": [0, 3]})
    reasons = {lock.reason for lock in rp.analyze(rp.Model(proto)).locks}
    assert "sparse tensor 'sparse' stays as it is" in reasons
