"""Graph patterns of real exports that once broke something, each shrunk to a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import reprune_onnx as rp

NEWEST_OF_ORT = 22  # every ONNX Runtime that is supported knows the opsets up to here


def model(body: str, **weights: Any) -> onnx.ModelProto:
    """A graph from x (n, 3, 8, 8) to y; a weight is an array, or the shape of a random one."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 13]>\n'
        f"g (float[n,3,8,8] x) => (float[n,4,h,w] y) {{\n{body}\n}}"
    )
    rng = np.random.default_rng(0)
    for name, value in weights.items():
        drawn = isinstance(value, tuple)
        array = rng.standard_normal(value).astype(np.float32) if drawn else np.asarray(value)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def prune(proto: onnx.ModelProto, **more: Any) -> rp.Pruned:
    return rp.prune(
        rp.Model(proto),
        rp.Settings(recover="none", sparsity=0.5, residual="prune", method="l1", **more),
    )


def widths(result: rp.Pruned) -> list[list[int]]:
    return [layer["out_channels"] for layer in result.report["layers"]]


CONV = "a = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w1)\n"
SAME_PAD = (
    CONV
    + """s = Shape (a)
 h = Gather <axis = 0> (s, i2)
 q = Mod (h, i3)
 u = Unsqueeze (q, ax)
"""
)


def test_pads_that_are_computed_with_clip() -> None:
    """TensorFlow's "same" padding, as timm's tf_* networks export it."""
    body = SAME_PAD.replace("u = Unsqueeze (q, ax)", "c = Clip (q, i0)\n u = Unsqueeze (c, ax)")
    proto = model(
        f"{body} p = Concat <axis = 0> (z2, u, u, z2, u, u)\n b = Pad (a, p)\n y = Conv (b, w2)",
        w1=(8, 3, 3, 3),
        w2=(4, 8, 1, 1),
        i0=np.int64(0),
        i2=np.int64(2),
        i3=np.int64(3),
        ax=np.array([0]),
        z2=np.array([0, 0]),
    )
    assert widths(prune(proto)) == [[8, 4], [4, 4]]


def test_pads_that_are_computed_from_the_number_of_pads() -> None:
    """F.pad by the TorchScript exporter: how many zeros are missing follows from Shape(pads)."""
    proto = model(
        f"{SAME_PAD} t = Concat <axis = 0> (u, u, u, u)\n n1 = Shape (t)\n n2 = Sub (eight, n1)\n"
        " z = ConstantOfShape <value = int64[1] {0}> (n2)\n p0 = Concat <axis = 0> (t, z)\n"
        " p1 = Reshape (p0, m42)\n p2 = Slice (p1, im1, imin, ax, im1)\n"
        " p3 = Transpose <perm = [1,0]> (p2)\n p = Reshape (p3, im1)\n b = Pad (a, p)\n"
        " y = Conv (b, w2)",
        w1=(8, 3, 3, 3),
        w2=(4, 8, 1, 1),
        i2=np.int64(2),
        i3=np.int64(3),
        ax=np.array([0]),
        eight=np.array([8]),
        m42=np.array([-1, 2]),
        im1=np.array([-1]),
        imin=np.array([-(2**63) + 1]),
    )
    assert widths(prune(proto)) == [[8, 4], [4, 4]]


def test_halves_at_a_rounded_up_computed_bound() -> None:
    """torch.chunk by the TorchScript exporter: (C + 1) // 2 does not follow C by itself."""
    proto = model(
        f"{CONV} s = Shape (a)\n c = Gather <axis = 0> (s, one)\n c1 = Add (c, one)\n"
        " h = Div (c1, two)\n m = Mul (h, one)\n m2 = Mul (h, two)\n"
        " l = Slice (a, zero, m, one)\n r = Slice (a, m, m2, one)\n"
        " rl = Conv (r, w2)\n ll = Conv (l, w3)\n y = Add (rl, ll)",
        w1=(8, 3, 3, 3),
        w2=(4, 4, 1, 1),
        w3=(4, 4, 1, 1),
        zero=np.array([0]),
        one=np.array([1]),
        two=np.array([2]),
    )
    result = prune(proto)
    assert widths(result)[0] == [8, 4]
    assert {r["node"][:5] for r in result.report["rewritten"]} == {"Slice"}


def test_a_computed_bound_that_keeps_its_value_is_written_down_too() -> None:
    """All that goes lies behind the bound: its value stays, but what computes it would change."""
    proto = model(
        f"{CONV} s = Shape (a)\n c = Gather <axis = 0> (s, one)\n c1 = Add (c, one)\n"
        " h = Div (c1, two)\n l = Slice (a, zero, h, one)\n r = Slice (a, h, c, one)\n"
        " ll = Relu (l)\n rl = Conv (r, w2)\n y = Add (rl, ll)",
        w1=(8, 3, 3, 3),
        w2=(4, 4, 1, 1),
        zero=np.array([0]),
        one=np.array([1]),
        two=np.array([2]),
    )
    assert widths(prune(proto))[0] == [8, 6], "the first half is a graph output and stays"


def test_an_omitted_optional_input_beside_a_derived_constant() -> None:
    """A bias behind Identity is written down; the empty name of Clip's upper bound is no reader."""
    proto = model(
        "b2 = Identity (b1)\n a = Conv <pads = [1,1,1,1]> (x, w1, b2)\n r = Clip (a, lo)\n"
        " y = Conv (r, w2)",
        w1=(8, 3, 3, 3),
        w2=(4, 8, 1, 1),
        b1=(8,),
        lo=np.float32(0),
    )
    proto.graph.node[2].input.append("")
    result = prune(proto)
    assert widths(result) == [[8, 4], [4, 4]]
    assert "Identity" not in [n.op_type for n in result.model.proto.graph.node]


@pytest.mark.parametrize(
    "tail",
    ["y = Conv (r, zeros)", "v = Conv (r, w2)\n z = Mul (v, zero)\n y = Div (z, zero)"],
    ids=["all zero", "not a number"],
)
def test_outputs_that_prove_nothing_are_refused(tail: str) -> None:
    weights = {"zeros": np.zeros((4, 8, 1, 1), np.float32), "w2": (4, 8, 1, 1)}
    proto = model(f"{CONV} r = Relu (a)\n {tail}", w1=(8, 3, 3, 3), zero=np.float32(0), **weights)
    with pytest.raises(rp.RepruneError, match="nothing could be proven"):
        prune(proto)
    assert widths(prune(proto, verify=False))[0] == [8, 4]


def test_a_convolution_along_the_channels_is_named() -> None:
    """ECA: a 1-D convolution slides over the channels of a pooled activation."""
    proto = model(
        f"{CONV} g = GlobalAveragePool (a)\n v = Reshape (g, t1)\n"
        " e = Conv <pads = [1,1]> (v, we)\n"
        " f = Sigmoid (e)\n k = Reshape (f, t2)\n b = Mul (a, k)\n y = Conv (b, w2)",
        w1=(8, 3, 3, 3),
        w2=(4, 8, 1, 1),
        we=(1, 1, 3),
        t1=np.array([0, 1, -1]),
        t2=np.array([0, -1, 1, 1]),
    )
    with pytest.raises(rp.SelectionError, match="works across the channels"):
        prune(proto)


def test_channels_that_nobody_reads_can_go() -> None:
    proto = model(
        f"{CONV} s = Slice (a, zero, three, one)\n y = Conv (s, w2)",
        w1=(6, 3, 3, 3),
        w2=(4, 3, 1, 1),
        zero=np.array([0]),
        one=np.array([1]),
        three=np.array([3]),
    )
    result = prune(proto)
    assert widths(result)[0] == [6, 3]
    assert result.report["verification"]["passed"]


@pytest.mark.parametrize(
    ("equation", "shape"),
    [("bchw,oc->bohw", (6, 8)), ("bchw,co->bohw", (8, 6)), ("nchw, ic -> nihw", (6, 8))],
)
def test_an_einsum_that_is_a_product_with_a_matrix_is_a_layer(
    equation: str, shape: tuple[int, int]
) -> None:
    proto = model(
        f'{CONV} e = Einsum <equation = "{equation}"> (a, m)\n r = Relu (e)\n y = Conv (r, w2)',
        w1=(8, 3, 3, 3),
        m=shape,
        w2=(4, 6, 1, 1),
    )
    result = prune(proto)
    cut = {c["initializer"]: c["axis"] for c in result.report["cuts"]}
    assert widths(result)[2] == [4, 4]
    assert {"w1", "m"} <= set(cut)
    assert result.report["verification"]["passed"]


def test_an_einsum_of_activations_locks_them() -> None:
    proto = model(
        f'{CONV} e = Einsum <equation = "bchw,bdhw->bcd"> (a, a)\n y = Unsqueeze (e, ax)',
        w1=(8, 3, 3, 3),
        ax=np.array([3]),
    )
    with pytest.raises(rp.SelectionError, match="multiplies activations"):
        prune(proto)


def test_a_gate_per_channel_of_a_pixel_shuffle_by_hand() -> None:
    proto = model(
        f"{CONV} p = Reshape (a, t5)\n q = Transpose <perm = [0,1,4,2,5,3]> (p)\n"
        " s = Reshape (q, t4)\n g = GlobalAveragePool (s)\n k = Conv (g, w3)\n z = Mul (s, k)\n"
        " y = Conv (z, w2)",
        w1=(16, 3, 3, 3),
        w3=(4, 4, 1, 1),
        w2=(4, 4, 1, 1),
        t5=np.array([0, 4, 2, 2, 8, 8]),
        t4=np.array([0, 4, 16, 16]),
    )
    result = prune(proto)
    assert widths(result)[0] == [16, 8]
    assert widths(result)[1] == [4, 2]


def test_a_bound_from_the_end_behind_which_all_goes() -> None:
    w1 = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    w1[6:] *= 1e-3  # the two channels that Slice cuts off are the weakest
    proto = model(
        f"{CONV} s = Slice (a, zero, end, one)\n z = Concat <axis = 1> (s, a)\n y = Conv (z, w2)",
        w1=w1,
        w2=(4, 14, 1, 1),
        zero=np.array([0]),
        end=np.array([-2]),
        one=np.array([1]),
    )
    result = rp.prune(
        rp.Model(proto), rp.Settings(recover="none", sparsity=0.25, residual="prune", method="l1")
    )
    assert widths(result)[0] == [8, 6]


@pytest.mark.parametrize(
    "use",
    [
        "b = Squeeze (g, two3)\n b1 = Squeeze (b, zero)\n z = Conv (a, w8, b1)",
        "b = Squeeze (g, two3)\n b1 = Squeeze (b, zero)\n z = InstanceNormalization (a, b1, b1)",
        "b = Squeeze (g, two3)\n q = Gemm (b, m, b)\n u = Unsqueeze (q, two3)\n z = Add (a, u)",
    ],
    ids=["bias of a Conv", "scale of a normalisation", "C of a Gemm"],
)
def test_parameters_that_are_activations_stay(use: str) -> None:
    proto = model(
        f"{CONV} g = GlobalAveragePool (a)\n {use}\n y = Conv (z, w2)",
        w1=(8, 3, 3, 3),
        w8=(8, 8, 1, 1),
        w2=(4, 8, 1, 1),
        m=(8, 8),
        zero=np.array([0]),
        two3=np.array([2, 3]),
    )
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(rp.SelectionError, match="nothing can be pruned"):
        prune(proto)
    reasons = {lock.reason for lock in rp.analyze(rp.Model(proto)).locks}
    assert any("is not a constant" in reason for reason in reasons)


def test_what_is_divided_by_the_number_of_channels_stays_so() -> None:
    """By the number that the file has: it is written down."""
    proto = model(
        f"{CONV} s = Shape (a)\n n = Gather <axis = 0> (s, one)\n v = Cast <to = 1> (n)\n"
        " z = Div (a, v)\n y = Conv (z, w2)",
        w1=(8, 3, 3, 3),
        w2=(4, 8, 1, 1),
        one=np.int64(1),
    )
    pruned = prune(proto)
    assert pruned.report["verification"]["passed"]
    assert [row["after"] for row in pruned.report["rewritten"]] == [[8]]


FUNCTIONS = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
g (float[n,3,8,8] x) => (float[n,4,8,8] y) {
  a = local.block (x, w1, b1)
  k = local.halve (w2)
  y = Conv (a, k)
}
<domain: "local", opset_import: ["": 17, "local": 1]>
block (x, w, b) => (z) { c = Conv <pads = [1,1,1,1]> (x, w, b)
 z = local.act (c) }
<domain: "local", opset_import: ["": 17]>
act (c) => (z) { s = Sigmoid (c)
 z = Mul (c, s) }
<domain: "local", opset_import: ["": 17]>
halve (w) => (h) { two = Constant <value = float {2.0}> ()
 h = Div (w, two) }"""


def test_layers_behind_local_functions() -> None:
    """The first exports of torch.onnx.dynamo call a local function for every operator."""
    proto = onnx.parser.parse_model(FUNCTIONS)
    rng = np.random.default_rng(0)
    for name, shape in (("w1", (8, 3, 3, 3)), ("b1", (8,)), ("w2", (4, 8, 1, 1))):
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    before = proto.SerializeToString(deterministic=True)

    result = prune(proto)

    assert proto.SerializeToString(deterministic=True) == before
    assert widths(result) == [[8, 4], [4, 4]]
    assert result.report["verification"]["passed"]


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
@pytest.mark.parametrize("ir", [3, 4, 8, 10])
def test_every_opset_and_ir_version(demo: Path, opset: int, ir: int) -> None:
    """The demo's ops exist since opset 7; whatever ONNX Runtime runs is pruned, and keeps both."""
    proto = onnx.load(demo)
    proto.opset_import[0].version, proto.ir_version = opset, ir
    if ir < 4:
        proto.graph.input.extend(
            onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
            for t in proto.graph.initializer
        )
    try:
        ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        assert opset > NEWEST_OF_ORT, error
        pytest.skip(f"ONNX Runtime {ort.__version__} does not know opset {opset}")

    result = rp.prune(
        rp.Model(proto), rp.Settings(recover="none", sparsity=0.5, residual="prune", method="l1")
    )

    after = result.model.proto
    assert (after.opset_import[0].version, after.ir_version) == (opset, ir)
    assert result.report["achieved"]["macs_reduction"] > 0.3
    assert result.report["verification"]["passed"]
