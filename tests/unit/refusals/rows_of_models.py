"""Files that are no models, damaged ones, and what cannot be pruned or proven."""

import numpy as np
import onnx
from onnx import TensorProto, helper

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer.graph import to_array
from reprune_onnx.deployment.half import half
from reprune_onnx.int8.quantizer import Quantizer
from reprune_onnx.int8.sensitive import Mixed
from reprune_onnx.int8.stage import InInt8, check_held_out, check_int8, check_made
from reprune_onnx.results import Verification
from reprune_onnx.runtime.ort import with_outputs
from reprune_onnx.verification.cut import check


def without(proto, op_type, field):
    """Take a list away from the first node of a kind."""
    node = next(n for n in proto.graph.node if n.op_type == op_type)
    del getattr(node, field)[:]


def untyped(proto, op_type):
    node = next(n for n in proto.graph.node if n.op_type == op_type)
    node.attribute[0].CopyFrom(helper.make_attribute(node.attribute[0].name, 0.5))


def unnamed(proto):
    next(n for n in proto.graph.node if n.op_type == "Relu").output[0] = ""


def complex_numbers():
    return helper.make_tensor("c", TensorProto.COMPLEX64, [1], [1 + 2j])


def incomplete():
    return TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[4], raw_data=b"\0")


def pruned(p, body, *options, **weights):
    return p.prune("--sparsity", 0.4, *options, model=p.graph(body, **weights))


def odd(passed=False, **more):
    values = {"max_abs_diff": 0.0, "scale": 1.0, "negative_control": 0.0, "tolerance": 1e-5}
    return Verification(passed, **{**values, **more}, runs=1)


def borrowed(proto):
    proto.graph.node[0].attribute[0].ref_attr_name = "size"


OPEN = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,h,l] x) => (float[a,b,c,d] y) '
FOREIGN = '<ir_version: 8, opset_import: ["": 17, "foreign": 1]> g (float[1,8,8,8] x)'
FOREIGN += " => (float[a,b,c,d] y) "


QUANTIZED = "xq = QuantizeLinear (x, s) xd = DequantizeLinear (xq, s) y = Conv (xd, w)"
INT8 = rp.Settings(sparsity=0.5, then="int8")


def made(p, error=0.1, **changed):
    """What a quantizer made, with another error or another node."""
    proto = rp.load(p.graph(QUANTIZED, s=np.float32(0.1))).proto
    if changed:
        proto.graph.node[-1].op_type = changed["op"]
    return InInt8(rp.Model(proto), Mixed(rp.Model(proto), (), (), {}), error)


ROWS = [
    (
        "leave --then int8 out, and what is pruned stays in int8",
        lambda p: check_int8(rp.load(p.graph(QUANTIZED, s=np.float32(0.1))), INT8),
    ),
    (
        "quantizes float32, and the model has values in float16",
        lambda p: check_int8(rp.Model(half(p.model, lambda: []).model.proto), INT8),
    ),
    (
        "compares on a third of the images, which is 5: give at least 24",
        lambda p: check_held_out(Images("five", (), 5)),
    ),
    (
        "so nothing of it would be int8: leave --then out",
        lambda p: check_made(InInt8(p.model, Mixed(p.model, (), (), {}), 0.0)),
    ),
    ("the model in int8 is no valid ONNX file", lambda p: check_made(made(p, op="Conf"))),
    ("so that nothing of them is left: it is not written", lambda p: check_made(made(p, 1.5))),
    (
        "ONNX Runtime cannot quantize the model",
        lambda p: Quantizer(p.model, None, "onnxruntime").quantized(),
    ),
    (
        "give some hundreds of your own with --calibration",
        lambda p: rp.prune(p.graph("h = Conv (x, w) r = Relu (h) y = Conv (r, v)"), INT8),
    ),
    ("cannot read", lambda p: rp.load(p.tmp / "nothing.onnx")),
    ("is an empty file: copy", lambda p: rp.load(p.text("", ".onnx"))),
    (
        "a pointer of Git LFS: fetch the model",
        lambda p: rp.load(p.text("version https://git-lfs.github.com/spec/v1", ".onnx")),
    ),
    (
        "a zip archive (.npz and .pt are, too): unpack it",
        lambda p: rp.load(p.text("PK\x03\x04", ".onnx")),
    ),
    ("is not an ONNX file", lambda p: rp.load(p.text("no model", ".onnx"))),
    ("holds no ONNX graph", lambda p: rp.load(p.save(onnx.ModelProto(ir_version=8)))),
    ("holds complex numbers", lambda p: to_array(complex_numbers())),
    ("has damaged values", lambda p: to_array(incomplete())),
    (
        "the model is quantized",
        lambda p: pruned(
            p, "a = Conv(x, w) b = DequantizeLinear(a, s) y = Relu(b)", s=np.float32(1)
        ),
    ),
    (
        "made by nodes of the domain 'foreign'",
        lambda p: p.prune(
            "--sparsity",
            0.4,
            model=p.graph(
                "q = foreign.Quant(v) y = Conv(x, q)",
                FOREIGN,
                v=np.ones((6, 8, 3, 3)),
            ),
        ),
    ),
    ("the model has no layer with weights", lambda p: pruned(p, "y = Relu(x)")),
    (
        "do not fit together",
        lambda p: pruned(p, "a = Conv(x, w) b = Transpose <perm = [0, 1, 2]> (a) y = Conv(b, v)"),
    ),
    (
        "is rejected by ONNX's shape inference (Mismatch between the sum",
        lambda p: pruned(
            p, "a = Conv(x, w) b = Split <axis = 1> (a, s) y = Conv(b, v)", s=np.array([5])
        ),
    ),
    (
        "(--input-shape gives other sizes)",
        lambda p: p.prune(
            "--sparsity",
            0.4,
            model=p.graph(
                "a = Conv(x, w) b = Concat <axis = 1> (a, a) y = Conv(b, v)",
                OPEN.replace("h,l", "32,32"),
            ),
        ),
    ),
    ("has 8 channels there", lambda p: pruned(p, "a = Conv(x, w, c) y = Relu(a)", c=np.ones(5))),
    (
        "has no output with a name",
        lambda p: rp.analyze(rp.load(p.altered(unnamed))),
    ),
    (
        "and at least 1 are allowed",
        lambda p: rp.analyze(rp.load(p.altered(lambda m: without(m, "Relu", "input")))),
    ),
    (
        "lacks its attribute 'axis'",
        lambda p: pruned(p, "a = Conv(x, w) b = Concat(a, a) y = Relu(b)"),
    ),
    (
        "and not INTS: the file is damaged",
        lambda p: rp.analyze(rp.load(p.altered(lambda m: untyped(m, "Conv")))),
    ),
    (
        "takes the value of 'size' of a function, and the node stands in none",
        lambda p: p.prune("--sparsity", 0.5, model=p.altered(borrowed)),
    ),
    ("no node of the graph computes 'nothing'", lambda p: with_outputs(p.model.proto, ["nothing"])),
    (
        "--no-verify writes the model unproven",
        lambda p: pruned(
            p,
            "a = Conv(x, w) b = Cast<to = 11>(a) c = Selu(b) d = Cast<to = 1>(c) y = Conv(d, v)",
        ),
    ),
    (
        "are not finite on any inputs tried",
        lambda p: pruned(
            p,
            "a = Conv(x, w) b = Div(a, n) c = Log(b) d = Mul(c, i) y = Conv(d, v)",
            n=np.float32(1),
            i=np.float32(np.inf),
        ),
    ),
    ("amplifies rounding", lambda p: check(odd(max_abs_diff=1.0, rounding=2.0))),
    (
        "this is a bug of reprune-onnx; please report the model",
        lambda p: check(odd(max_abs_diff=1.0)),
    ),
    ("a deliberately wrong cut changes them by only", lambda p: check(odd())),
    ("nothing can be pruned", lambda p: pruned(p, "y = Conv(x, w)")),
    (
        "has values that are not finite",
        lambda p: pruned(
            p,
            "a = Conv(x, w) b = BatchNormalization(a, g, o, o, g) y = Conv(b, v)",
            g=np.full(8, np.nan),
            o=np.ones(8),
        ),
    ),
]
