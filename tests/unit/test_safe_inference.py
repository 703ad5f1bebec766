"""Negative extents before a Slice, of which onnx and ONNX Runtime end the process (SIGABRT)."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.runtime.ort import Session
from reprune_onnx.safe_inference import infer_shapes
from reprune_onnx.sizes.fitting import fitting_shapes

SMALL = {
    "a window": ("a = Conv (x, w)\n b = Conv (a, w)\n", [1, 4, -4, -4], "what Conv 'b' makes"),
    "a window behind a Slice that fits": (
        "a = Conv (x, w)\n c = Slice (a, zero, last, two)\n b = Conv (c, w)\n",
        [1, 4, -5, -4],
        "what Conv 'b' makes",
    ),
    "a pool": (
        "b = MaxPool <kernel_shape = [11, 3]> (x)\n",
        [1, 4, -2, 6],
        "what MaxPool 'b' makes",
    ),
    "a Pad that takes away": ("b = Pad (x, less)\n", [1, 4, -2, 8], "what Pad 'b' makes"),
}


def model(before, x="float[1, 4, 8, 8] x", **weights):
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g ({x}) => (float[] y) {{
        {before}
        y = Slice (b, zero, last, two)
    }}"""
    known = {
        "w": np.ones((4, 4, 7, 7)),
        "less": np.array([0, 0, -5, 0, 0, 0, -5, 0]),
        "zero": np.array([0]),
        "last": np.array([-1]),
        "two": np.array([2]),
    }
    return text_graphs.model(text, **{k: v for k, v in known.items() if k in text}, **weights)


@pytest.mark.parametrize("case", SMALL)
def test_a_file_of_negative_extents_is_refused(case):
    before, extents, maker = SMALL[case]
    proto = model(before)
    told = {v.name: v for v in infer_shapes(proto).graph.value_info}
    assert [d.dim_value for d in told["b"].type.tensor_type.shape.dim] == extents
    for refusing in (lambda: rp.analyze(rp.Model(proto)), lambda: Session(proto, optimize=False)):
        with pytest.raises(rp.RepruneError) as error:
            refusing()
        assert f"{maker} has the extents {'×'.join(map(str, extents))}: " in str(error.value)
        assert "export the model with larger ones" in str(error.value)


def test_sizes_that_are_given_too_small_are_called_that():
    proto = model(SMALL["a window"][0], "float[1, 4, h, w] x")
    with pytest.raises(rp.RepruneError) as error:
        rp.analyze(rp.Model(proto), rp.Scope(input_shapes={"x": (1, 4, 8, 8)}))
    assert "what Conv 'b' makes has the extents 1×4×-4×-4" in str(error.value)
    assert "give larger sizes with --input-shape" in str(error.value)
    assert fitting_shapes(proto, {"x": (1, 4, 20, 20)}).shapes == {"x": (1, 4, 20, 20)}


@pytest.mark.parametrize("extent", [-1, -3])
def test_stated_negative_extents_are_open(extent):
    """As some exporters write them."""
    proto = model("a = Identity (x)\n b = Conv (a, w)\n")
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = extent
    x = np.ones((1, 4, 11, 8), np.float32)
    assert Session(proto, optimize=False).run({"x": x})["y"].shape == (1, 4, 4, 2)
    told = {v.name: v.type.tensor_type.shape.dim for v in infer_shapes(proto).graph.value_info}
    assert [d.dim_value for d in told["b"]] == [1, 4, 0, 2]
    assert fitting_shapes(proto, {}).shapes == {"x": (1, 4, 224, 8)}
    text = {o.name: o.type.tensor_type.shape.dim for o in infer_shapes(proto).graph.output}
    assert [d.dim_value for d in text["y"]] == [1, 4, 0, 2]


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_known_of_other_files_is_what_onnx_knows(strict):
    before = """a = Conv (x, w)
        c = Slice (a, zero, last, two)
        e = Reshape (c, flat)
        f = Reshape (c, unknown)
        d = Slice (f, zero, last, two)
        b = Slice (e, zero, last, two)"""
    rest = {"flat": np.array([1, 4, -1, 2])}
    proto = model(before, "float[1, 4, 9, 8] x, int64[rank] unknown", **rest)
    own = infer_shapes(proto, strict_mode=strict, data_prop=True)
    assert own == onnx.shape_inference.infer_shapes(proto, strict_mode=strict, data_prop=True)
    assert {v.name for v in own.graph.value_info} >= {"a", "c", "e", "b"}


def test_sizes_are_found_past_those_that_make_negative_extents():
    """Unpadded windows of a spectrogram, whose frames and columns are open, then a Slice."""
    before = """[image] i = Unsqueeze (x, first)
        a = Conv (i, u)
        b = Conv (a, w)"""
    weights = {"first": np.array([0, 1]), "u": np.ones((4, 1, 7, 7))}
    proto = model(before, "float[frames, columns] x", **weights)
    found = fitting_shapes(proto, {})
    assert min(found.shapes["x"]) >= 14
    assert "Conv 'a' has a window of 7×7 in 1×1" in found.note
    Session(proto, optimize=False).run({"x": np.ones(found.shapes["x"], np.float32)})


@pytest.mark.parametrize("shape", [(2, 2), (1, 3, 2), (40, 30)])
def test_whole_numbers_of_several_axes_are_looked_at_with_their_values(shape):
    """Weights are left out of what is inferred from; places to gather from are no weights."""
    places = np.arange(np.prod(shape)).reshape(shape) % 2
    proto = model("a = Conv (x, w)\n b = Gather <axis = 3> (a, places)\n", places=places)
    last = [d.dim_value for d in infer_shapes(proto).graph.output[0].type.tensor_type.shape.dim]
    assert last == [1, 4, 1, *shape]
    assert [cost.op for cost in rp.analyze(rp.Model(proto)).layers] == ["Conv"]
