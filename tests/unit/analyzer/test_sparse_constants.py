"""Sparse weights are cut like all others, and written dense."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import dense
from reprune_onnx.errors import ModelError

RNG = np.random.default_rng(5)
TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,8,8] x) => (float[1,2,8,8] y) {{
  {made}
  [first] c = Conv <pads = [1,1,1,1]> (x, w)
  [bound] r = Relu (c)
  [second] d = Conv (r, v)
  [third] y = Conv (d, u)
}}"""


def sparse(array: np.ndarray, name: str, rank: int = 1) -> onnx.SparseTensorProto:
    """Of values with their places in the flat array, or with one coordinate per axis."""
    places = np.argwhere(array) if rank > 1 else np.flatnonzero(array)
    return onnx.helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(array[array != 0], name),
        onnx.numpy_helper.from_array(places.astype(np.int64), f"{name}_places"),
        list(array.shape),
    )


def weights(n: int) -> dict[str, np.ndarray]:
    shapes = {"w": (n, 3, 3, 3), "v": (6, n, 1, 1), "u": (2, 6, 1, 1)}
    arrays = {k: RNG.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    return {k: np.where(np.abs(a) < 0.6, 0, a).astype(np.float32) for k, a in arrays.items()}


def as_file(kind: str, arrays: dict[str, np.ndarray], names: str) -> onnx.ModelProto:
    """A model whose weights ``names`` are sparse, in one of the ways that ONNX has."""
    rank = 4 if kind == "coordinates" else 1
    rest = {k: a for k, a in arrays.items() if k not in names}
    proto = model(TEXT.format(made=""), **rest)
    for name in names:
        value = sparse(arrays[name], name, rank)
        if kind == "Constant":
            node = onnx.helper.make_node("Constant", [], [name], sparse_value=value)
            proto.graph.node.insert(0, node)
        else:
            proto.graph.sparse_initializer.append(value)
    return proto


def pruned(proto: onnx.ModelProto, **more: object) -> rp.Pruned:
    how = {"sparsity": 0.5, "method": "l1", "allocation": "uniform", "recover": "none", **more}
    return rp.prune(rp.Model(proto), rp.Settings(**how))


@pytest.mark.parametrize("kind", ["places", "coordinates", "Constant"])
@pytest.mark.parametrize(("names", "n"), [("w", 8), ("v", 8), ("wvu", 12)])
def test_it_is_cut_as_the_dense_file_is(kind: str, names: str, n: int) -> None:
    arrays = weights(n)
    proto = as_file(kind, arrays, names)
    before = proto.SerializeToString()

    result = pruned(proto)

    twin = pruned(model(TEXT.format(made=""), **arrays))
    assert result.report["verification"]["passed"]
    assert result.report["cuts"] == twin.report["cuts"]
    for key in ("params", "macs", "channels"):
        assert result.report["before"][key] == twin.report["before"][key]
    assert proto.SerializeToString() == before
    assert not dense.sparse_tensors(result.model.proto)
    onnx.checker.check_model(result.model.proto, full_check=True)
    (note,) = [n for n in result.report["notes"] if "sparse" in n]
    assert note.startswith(f"{len(names)} sparse tensor")
    assert not any("sparse" in n for n in twin.report["notes"])


def test_what_nothing_is_cut_of_stays_sparse() -> None:
    proto = as_file("places", weights(8), "wv")
    result = rp.prune(rp.Model(proto), rp.Settings(sparsity=0.0, recover="none"))
    assert len(dense.sparse_tensors(result.model.proto)) == 2
    assert not any("sparse" in note for note in result.report["notes"])


def test_what_would_not_fit_into_memory_stays_with_a_reason(monkeypatch) -> None:
    proto = as_file("places", weights(8), "v")
    monkeypatch.setattr(dense, "MOST", 100)
    reasons = {lock.reason for lock in rp.analyze(rp.Model(proto)).locks}
    assert any("'second'" in reason for reason in reasons), reasons


@pytest.mark.parametrize("places", [[-1, 2], [0, 10**6], [0, 1, 2], [[0], [1]]])
def test_places_outside_are_refused(places: list[int]) -> None:
    proto = as_file("places", weights(8), "v")
    value = proto.graph.sparse_initializer[0]
    two = onnx.numpy_helper.from_array(np.ones(2, np.float32), "v")
    value.values.CopyFrom(two)
    value.indices.CopyFrom(onnx.numpy_helper.from_array(np.array(places, np.int64), "places"))
    with pytest.raises(ModelError, match="not all of them inside"):
        pruned(proto)


def test_numbers_that_are_no_weights_may_be_sparse(call, tmp_path) -> None:
    """A bias, and through the command line: analyze, prune, verify."""
    arrays = weights(8)
    proto = model(TEXT.format(made="").replace("Conv (r, v)", "Conv (r, v, k)"), **arrays)
    bias = np.array([0, 1, 0, 0, 2, 0], np.float32)
    proto.graph.sparse_initializer.append(sparse(bias, "k"))
    source, out = tmp_path / "m.onnx", tmp_path / "small.onnx"
    onnx.save(proto, source)
    assert call("analyze", source).code == 0
    assert call("prune", source, "-o", out, "--sparsity", "0.5").code == 0
    assert call("verify", source, out).code == 0
