"""Correlation with a kernel that a network makes, against encoders whose channels are zero."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp

RNG = np.random.default_rng(8)
SIAMESE = """<ir_version: 8, opset_import: ["": 17]>
g ({kind}[2,3,7,7] z, {kind}[2,3,12,12] x) => ({kind}[n,c,h,w] y) {{
  [template] a = Conv (z, w)
  [image] b = Conv (x, w)
  {correlation}
}}"""
SUMMED = "r = Reshape (b, rows)\n y = Conv <group = 2> (r, a)"
DEPTHWISE = (
    "r = Reshape (b, rows)\n t = Reshape (a, kernels)\n m = Conv <group = 16> (r, t)\n"
    "d = Reshape (m, back)\n y = Conv (d, u)"
)
SHAPES = {
    "rows": np.array([1, 16, 10, 10]),
    "kernels": np.array([16, 1, 5, 5]),
    "back": np.array([2, -1, 6, 6]),
}


def siamese(correlation: str, kind: str = "float") -> onnx.ModelProto:
    used = {name: value for name, value in SHAPES.items() if name in correlation}
    weights = {"w": RNG.standard_normal((8, 3, 3, 3)) / 5}
    if "(d, u)" in correlation:
        weights["u"] = RNG.standard_normal((4, 8, 1, 1)) / 3
    proto = model(SIAMESE.format(kind=kind, correlation=correlation), **weights, **used)
    if kind == "float16":
        for tensor in proto.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    return proto


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0]


def prune(proto: onnx.ModelProto) -> rp.Pruned:
    settings = rp.Settings(
        sparsity=0.5, residual="prune", recover="none", allocation="uniform", method="l1"
    )
    return rp.prune(rp.Model(proto), settings)


@pytest.mark.parametrize("correlation", [SUMMED, DEPTHWISE])
def test_what_is_left_computes_what_zero_filters_compute(correlation: str) -> None:
    proto = siamese(correlation)
    result = prune(proto)
    (keep,) = [c["keep"] for c in result.report["cuts"] if c["initializer"] == "w"]
    assert len(keep) == 4
    for tensor in proto.graph.initializer:
        if tensor.name == "w":
            array = numpy_helper.to_array(tensor).copy()
            array[np.setdiff1d(np.arange(8), keep)] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, "w"))
    feeds = {
        name: RNG.standard_normal(shape).astype(np.float32)
        for name, shape in (("z", (2, 3, 7, 7)), ("x", (2, 3, 12, 12)))
    }
    wanted = run(proto, feeds)
    assert np.abs(run(result.model.proto, feeds) - wanted).max() < 1e-5
    assert np.abs(wanted).max() > 0.1


def test_a_sum_of_channels_in_float16_is_proven() -> None:
    result = prune(siamese(SUMMED, "float16"))
    assert result.report["verification"]["passed"]
    assert [layer["out_channels"] for layer in result.report["layers"]] == [[8, 4], [8, 4]]


ALONE = """<ir_version: 8, opset_import: ["": 17]>
g (float[2,3,12,12] x) => (float[n,c,h,w] y, float[2,2,10,10] o) {
  z = Slice (x, from, to, axes)
  [template] a = Conv (z, w)
  [image] b = Conv (x, w)
  r = Reshape (b, rows)
  y = Conv <group = 2> (r, a)
  [first] e = Conv (x, v)
  f = Relu (e)
  [second] o = Conv (f, u)
}"""


def test_losses_that_no_layer_shows_keep_the_channels(tmp_path: Path) -> None:
    """On images a group is measured by what reads it; a sum of two activations is no layer."""
    bounds = {"from": np.array([0, 0]), "to": np.array([7, 7]), "axes": np.array([2, 3])}
    shapes = {"w": (8, 3, 3, 3), "v": (6, 3, 3, 3), "u": (2, 6, 1, 1)}
    weights = {name: RNG.standard_normal(shape) for name, shape in shapes.items()}
    proto = model(ALONE, rows=SHAPES["rows"], **bounds, **weights)
    images = RNG.standard_normal((8, 3, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=images)
    settings = rp.Settings(
        sparsity=0.2,
        residual="prune",
        calibration=str(tmp_path / "images.npz"),
        preprocess="none",
    )
    result = rp.prune(rp.Model(proto), settings)
    widths = {layer["node"]: layer["out_channels"] for layer in result.report["layers"]}
    assert widths["template"] == widths["image"] == [8, 8]
    assert widths["first"][1] < 6
