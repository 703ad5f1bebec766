"""Fused ops as plain ones of the same shape: what inference says of these, ONNX Runtime makes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs

from reprune_onnx.plain_ops import in_plain_ops
from reprune_onnx.runtime.ort import Session
from reprune_onnx.sizes import reach
from reprune_onnx.sizes.fitting import fitting_shapes

NODES = {
    "Gelu": "y = com.microsoft.Gelu (x)",
    "FastGelu": "y = com.microsoft.FastGelu (x, columns)",
    "BiasGelu": "y = com.microsoft.BiasGelu (x, columns)",
    "QuickGelu": "y = com.microsoft.QuickGelu <alpha = 1.7> (x)",
    "a norm": "y = SimplifiedLayerNormalization <axis = -1, epsilon = 0.1> (x, columns)",
    "a norm of a sum": """flat = Reshape (x, rows)
        y, , , = com.microsoft.SkipSimplifiedLayerNormalization (flat, flat, columns)""",
    "FusedConv": """y = com.microsoft.FusedConv <activation = "LeakyRelu",
        activation_params = [0.2], strides = [2, 1], pads = [0, 1, 0, 1]> (x, kernel)""",
    "FusedGemm": """flat = Flatten (x)
        y = com.microsoft.FusedGemm <activation = "Relu", transB = 1> (flat, matrix)""",
    "FusedMatMul": "y = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, x)",
    "FusedMatMul of columns": "y = com.microsoft.FusedMatMul <transA = 1> (x, x)",
    "FusedMatMul by a matrix": "y = com.microsoft.FusedMatMul (x, right)",
    "FusedMatMul by rows": "y = com.microsoft.FusedMatMul <transB = 1> (x, below)",
}
EXTENTS = {
    "columns": (5,),
    "kernel": (6, 3, 2, 3),
    "matrix": (7, 60),
    "right": (5, 9),
    "below": (9, 5),
}


@pytest.mark.parametrize("case", NODES)
def test_inference_knows_the_shape_that_is_made(case):
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(extents).astype(np.float32)
        for name, extents in EXTENTS.items()
        if f"{name})" in NODES[case] or f"{name}," in NODES[case]
    }
    if "rows" in NODES[case]:
        weights["rows"] = np.array([0, -1, 5])
    text = f"""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[2, 3, 4, 5] x) => (float[] y) {{
        {NODES[case]}
    }}"""
    proto = text_graphs.model(text, **weights)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    made = Session(proto, optimize=False).run({"x": x})["y"]
    assert told(proto) is None
    in_plain_ops(proto.graph.node, EXTENTS)
    assert told(proto) == made.shape


def told(proto):
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    shape = onnx.shape_inference.infer_shapes(proto).graph.output[0].type.tensor_type
    return tuple(d.dim_value for d in shape.shape.dim) if shape.HasField("shape") else None


def test_a_product_that_turns_batches_stays_as_it_is():
    node = onnx.helper.make_node(
        "FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", transBatchA=1
    )
    before = node.SerializeToString()
    in_plain_ops([node], ())
    assert node.SerializeToString() == before


def test_no_size_is_run_behind_fused_ops_that_takes_more_memory_than_a_proof_may(monkeypatch):
    """Case 151 of seed 8: attention between 224² positions behind a FastGelu took 20 GB."""
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[n, 3, h, w] x) => (float[] y) {
        g = com.microsoft.FastGelu (x)
        k = Reshape (g, rows)
        q = Transpose <perm = [0, 2, 1]> (k)
        all = com.microsoft.FusedMatMul <transB = 1> (q, q)
        s = Softmax (all)
        t = MatMul (k, s)
        shape = Shape (g)
        y = Reshape (t, shape)
    }"""
    ran = []
    monkeypatch.setattr(reach, "_AT_PLACES", {"Softmax"})
    monkeypatch.setattr(Session, "run", lambda self, inputs: ran.append(inputs["x"].shape))
    proto = text_graphs.model(text, rows=np.array([0, 0, -1]))
    found = fitting_shapes(proto, {})
    assert found.shapes["x"] != (1, 3, 224, 224)
    assert "a node reads and makes" in found.note
    assert max(np.prod(shape[2:]) ** 2 for shape in ran) < 2**28


@pytest.mark.parametrize("in_a_node", [False, True])
def test_a_matrix_may_stand_in_a_node(in_a_node):
    """Case 6803 of seed 10: of a product by a matrix in a Constant node nothing was known."""
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[b, 4, h, 5] x) => (float[] y) {
        p = com.microsoft.FusedMatMul (x, right)
        [t] y = Reshape (p, to)
    }"""
    proto = text_graphs.model(text, to=np.array([2, 288]))
    right = onnx.numpy_helper.from_array(np.ones(EXTENTS["right"], np.float32), "right")
    if in_a_node:
        proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["right"], value=right))
    else:
        proto.graph.initializer.append(right)
    sizes = fitting_shapes(proto, {})
    assert sizes.shapes == {"x": (2, 4, 8, 5)}
    assert "Reshape 't' makes 2×288 of" in sizes.note
