"""Views that are written as a gather of all numbers, as PyTorch's exporter writes as_strided."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer.views import as_views
from reprune_onnx.runtime.ort import Session

C = 6
PLACES = """n = Shape <end = 1> (x)  n0 = Squeeze (n)  r = Range (zero, n0, one)
    s = Mul (r, stride)  u = Unsqueeze (s, axes)  places = Add (u, row)"""
FLAT = "flat = Reshape (m, all)  v = Gather <axis = 0> (flat, places)"
MEAN = "m = ReduceMean <axes = [2,3]> (f)"


def network(
    places: str = PLACES, flat: str = FLAT, mean: str = MEAN, batch: str = "N", **other: object
) -> rp.Model:
    rng = np.random.default_rng(0)
    constants = {
        "f_w": rng.standard_normal((C, 3, 3, 3)),
        "o_w": rng.standard_normal((4, C, 1, 1)),
        "zero": np.int64(0),
        "one": np.int64(1),
        "stride": np.int64(C),
        "axes": np.array([1, 2, 3]),
        "row": np.arange(C).reshape(1, C, 1, 1),
        "all": np.array([-1]),
        **other,
    }
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[{batch},3,8,8] x) => (float[A,B,H,W] y) {{
        [stem] f = Conv <pads = [1,1,1,1]> (x, f_w)  {mean}  {places}  {flat}
        [last] y = Conv (v, o_w) }}"""
    return rp.Model(model(text, **{k: v for k, v in constants.items() if k in text}))


def answers(proto: onnx.ModelProto, images: int = 2) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((images, 3, 8, 8)).astype(np.float32)
    return Session(proto, optimize=False).run({"x": x})["y"]


VIEWS = {
    "the tensor itself": {},
    "places that are constant": {
        "places": "places = Identity (numbered)",
        "batch": "2",
        "numbered": np.arange(2 * C).reshape(2, C, 1, 1),
    },
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_gather_of_all_numbers_in_their_order_is_a_reshape(name: str) -> None:
    source = network(**VIEWS[name])

    written = as_views(source)

    kinds = [node.op_type for node in written.proto.graph.node]
    assert "Reshape" in kinds
    assert not {"Gather", "Range", "Add"} & set(kinds)
    onnx.checker.check_model(written.proto, full_check=True)
    np.testing.assert_array_equal(answers(source.proto), answers(written.proto))


@pytest.mark.parametrize("name", VIEWS)
def test_channels_go_through_a_view(name: str) -> None:
    source = network(**VIEWS[name])

    pruned = rp.prune(source, rp.Settings(sparsity=0.5, recover="none"))

    assert pruned.report["layers"][0]["out_channels"] == [C, C // 2]
    assert pruned.report["verification"]["passed"]
    assert np.isfinite(answers(pruned.model.proto)).all()


OTHERS = {
    "backwards": {"row": np.arange(C)[::-1].reshape(1, C, 1, 1)},
    "images far apart": {"stride": np.int64(C + 1)},
    "the first numbers alone": {
        "mean": "m = AveragePool <kernel_shape = [4,4], strides = [4,4]> (f)",
    },
    "places that the image tells": {
        "places": "h = ReduceMax <keepdims = 0> (x)  i = Cast <to = 7> (h)  k = Mul (i, zero)  "
        + PLACES.replace("places =", "p =")
        + "  places = Add (p, k)",
    },
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_gathers_stay(name: str) -> None:
    source = network(**OTHERS[name])

    assert as_views(source) is source
