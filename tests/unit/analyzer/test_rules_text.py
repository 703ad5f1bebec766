"""What every family of ops does to the channels, asserted on what pruning makes of tiny graphs.

In each graph, half of the eight channels of ``c`` are weak: 1, 3, 4 and 6. They go where the rule
lets channels go, and stay, with a reason, where it does not. Another layer before it can always
lose channels, so that pruning never has nothing to do. Every result is verified in ONNX Runtime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer.rules import RULES

WEAK = [1, 3, 4, 6]
STRONG = [0, 2, 5, 7]
ALL = list(range(8))


@dataclass(frozen=True)
class Case:
    """``body`` makes ``z`` of ``c`` (1, 8, 8, 8); a Conv reads ``z`` unless ``body`` makes ``y``.

    ``weights`` are declarations; those without a value are filled with random numbers. ``n`` is
    the number of channels of ``z``. ``keep`` are the channels of ``c`` that are left, ``shapes``
    and ``integers`` other constants after pruning.
    """

    name: str
    body: str
    weights: str = ""
    n: int = 8
    opset: int = 17
    keep: list[int] = field(default_factory=lambda: STRONG)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    integers: dict[str, list[int]] = field(default_factory=dict)
    functions: str = ""
    reason: str = ""
    left: int = 4


def network(case: Case) -> onnx.ModelProto:
    head = "" if "y = " in case.body else "y = Conv (z, head_w)"
    weights = ["float[6,3,3,3] first_w", "float[8,6,3,3] c_w", "float[8] c_b", case.weights]
    if head:
        weights.append(f"float[2,{case.n},1,1] head_w")
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8,
             opset_import: ["" : {case.opset}, "com.microsoft" : 1, "local" : 1, "other" : 1]>
        net (float[1,3,8,8] x) => (float[] y)
        <{", ".join(w for w in weights if w)}>
        {{
          [first] f = Conv <pads = [1,1,1,1]> (x, first_w)
          [subject] c = Conv <pads = [1,1,1,1]> (f, c_w, c_b)
          {case.body}
          {head}
        }}
        {case.functions}"""
    )
    _fill_declared(proto)
    proto = onnx.shape_inference.infer_shapes(proto)
    y = proto.graph.output[0]
    if not y.type.tensor_type.HasField("shape"):
        y.CopyFrom(helper.make_tensor_value_info("y", y.type.tensor_type.elem_type, list("nchw")))
    return proto


def _fill_declared(proto: onnx.ModelProto) -> None:
    rng = np.random.default_rng(4)
    made = {o for node in proto.graph.node for o in node.output}
    declared = [v for v in proto.graph.value_info if v.name not in made]
    del proto.graph.value_info[:]
    for value in declared:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        array = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:] or [1]))
        if value.name == "c_w":
            array[WEAK] *= 0.3
        if value.name == "var":
            array = np.abs(array) + 0.5
        proto.graph.initializer.append(
            numpy_helper.from_array(array.astype(np.float32), value.name)
        )


def pruned(proto: onnx.ModelProto, **more: Any) -> rp.Pruned:
    """Half of the channels go, those with the weakest filters."""
    settings = rp.Settings(sparsity=0.5, method="l1", allocation="uniform", residual="prune")
    return rp.prune(rp.Model(proto), replace(settings, **more))


def kept(result: rp.Pruned) -> list[int]:
    """The channels of ``c`` that are left."""
    cuts = {(c["initializer"], c["axis"]): c["keep"] for c in result.report["cuts"]}
    return list(cuts.get(("c_w", 0), ALL))


def constants(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Initializers and Constant nodes by name."""
    found = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = np.asarray(
                numpy_helper.to_array(node.attribute[0].t)
                if node.attribute[0].name == "value"
                else helper.get_attribute_value(node.attribute[0])
            )
    return found


UNARY = """
    Relu Sigmoid Tanh Erf HardSwish HardSigmoid LeakyRelu Elu Celu Selu Softplus Softsign Abs Exp
    Neg Sin Sign Floor Identity ThresholdedRelu Dropout
"""

ELEMENTWISE = [Case(op, f"z = {op} (c)") for op in UNARY.split()]
ELEMENTWISE += [
    Case("Mish", "z = Mish (c)", opset=18),
    Case("Gelu", "z = Gelu (c)", opset=20),
    Case("Dropout with a ratio", "z = Dropout (c, ratio)", "float ratio = {0.5}"),
    Case("Dropout of opset 9", "z = Dropout <ratio = 0.5> (c)", opset=9),
    Case("Cast there and back", "h = Cast <to = 11> (c)\n z = Cast <to = 1> (h)"),
    Case("Clip with inputs", "z = Clip (c, lo, hi)", "float lo = {-0.5}, float hi = {0.5}"),
    Case("Clip with one input", "z = Clip (c, , hi)", "float hi = {0.5}"),
    Case("Clip with attributes", "z = Clip <min = -0.5, max = 0.5> (c)", opset=9),
    Case(
        "PRelu per channel",
        "z = PRelu (c, slope)",
        "float[8,1,1] slope",
        shapes={"slope": (4, 1, 1)},
    ),
    Case(
        "PRelu with one slope",
        "z = PRelu (c, slope)",
        "float[1] slope",
        shapes={"slope": (1,)},
    ),
    Case("Add a number", "z = Add (c, k)", "float k = {0.5}", shapes={"k": ()}),
    Case("Sub per channel", "z = Sub (k, c)", "float[1,8,1,1] k", shapes={"k": (1, 4, 1, 1)}),
    Case("Mul per channel", "z = Mul (c, k)", "float[8,1,1] k", shapes={"k": (4, 1, 1)}),
    Case("Div by a map", "z = Div (c, var)", "float[8,8] var", shapes={"var": (8, 8)}),
    Case("Add a volume", "z = Add (c, k)", "float[8,8,8] k", shapes={"k": (4, 8, 8)}),
    Case("Pow", "z = Pow (c, two)", "float two = {2.0}"),
    Case("Sum of itself", "r = Relu (c)\n z = Sum (c, r, c)"),
    Case("Max and Min", "r = Neg (c)\n m = Max (c, r)\n z = Min (m, k)", "float k = {0.7}"),
    Case("Where", "p = Greater (c, k)\n z = Where (p, c, k)", "float k = {0.1}"),
    Case(
        "tied to another layer",
        "[other] d = Conv (f, d_w)\n z = Mul (c, d)",
        "float[8,6,1,1] d_w",
        keep=[],
        shapes={"d_w": (4, 3, 1, 1)},
    ),
    Case(
        "spatial attention",
        "[map] m = Conv (c, map_w)\n s = Sigmoid (m)\n z = Mul (c, s)",
        "float[1,8,1,1] map_w",
        shapes={"map_w": (1, 4, 1, 1)},
    ),
]

NORMALIZATION = [
    Case(
        "BatchNormalization",
        "z = BatchNormalization (c, gamma, beta, mean, var)",
        "float[8] gamma, float[8] beta, float[8] mean, float[8] var",
        shapes={"gamma": (4,), "beta": (4,), "mean": (4,), "var": (4,)},
    ),
    Case(
        "BatchNormalization of opset 9",
        "z = BatchNormalization (c, gamma, beta, mean, var)",
        "float[8] gamma, float[8] beta, float[8] mean, float[8] var",
        opset=9,
        shapes={"gamma": (4,), "beta": (4,), "mean": (4,), "var": (4,)},
    ),
    Case(
        "InstanceNormalization",
        "z = InstanceNormalization (c, gamma, beta)",
        "float[8] gamma, float[8] beta",
        shapes={"gamma": (4,), "beta": (4,)},
    ),
    Case(
        "GroupNormalization: whole groups",
        "z = GroupNormalization <num_groups = 4> (c, gamma, beta)",
        "float[8] gamma, float[8] beta",
        opset=21,
        keep=[],
        shapes={"gamma": (4,), "beta": (4,)},
    ),
    Case(
        "GroupNormalization as PyTorch writes it",
        "g = Reshape (c, four)\n n = InstanceNormalization (g, ones, zeros)\n"
        "s = Shape (c)\n r = Reshape (n, s)\n z = Mul (r, gamma)",
        "int64[3] four = {0, 4, -1}, float[4] ones, float[4] zeros, float[8,1,1] gamma",
        keep=[],
        shapes={"gamma": (4, 1, 1), "ones": (2,), "zeros": (2,)},
        integers={"four": [0, 2, -1]},
    ),
    Case(
        "LayerNormalization over positions",
        "z = LayerNormalization <axis = -1> (c, scale)",
        "float[8] scale",
        shapes={"scale": (8,)},
    ),
    Case("Softmax over positions", "z = Softmax <axis = 3> (c)"),
    Case("Softmax over positions, from the end", "z = Softmax <axis = -1> (c)"),
    Case("Softmax over flattened positions", "z = Softmax <axis = 2> (c)", opset=11),
    Case("LogSoftmax over positions", "z = LogSoftmax <axis = 2> (c)"),
    Case("LpNormalization over positions", "z = LpNormalization <axis = 2> (c)"),
    Case("MeanVarianceNormalization", "z = MeanVarianceNormalization <axes = [2, 3]> (c)"),
]

WINDOWS = [
    Case("MaxPool", "z = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c)"),
    Case("AveragePool", "z = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (c)"),
    Case("LpPool", "z = LpPool <kernel_shape = [2,2]> (c)"),
    Case("GlobalAveragePool", "z = GlobalAveragePool (c)"),
    Case("GlobalMaxPool", "z = GlobalMaxPool (c)"),
]

REDUCTION = [
    Case("ReduceMean over positions, opset 9", "z = ReduceMean <axes = [2, 3]> (c)", opset=9),
    Case("ReduceMean over positions, opset 13", "z = ReduceMean <axes = [-1, 2]> (c)", opset=13),
    Case(
        "ReduceMean over positions, opset 18",
        "z = ReduceMean (c, axes)",
        "int64[2] axes = {2, 3}",
        opset=18,
    ),
    Case("ReduceSum of opset 13", "z = ReduceSum (c, axes)", "int64[2] axes = {2, 3}", opset=13),
    Case(
        "ReduceMax without the axes",
        "r = ReduceMax <axes = [3], keepdims = 0> (c)\nz = Unsqueeze (r, last)",
        "int64[1] last = {3}",
    ),
    Case("ReduceL2 over no axis", "z = ReduceL2 <noop_with_empty_axes = 1> (c)", opset=18),
    Case("ArgMax over positions", "a = ArgMax <axis = 3> (c)\n z = Cast <to = 1> (a)"),
]

SHAPES = [
    Case(
        "Squeeze and Unsqueeze, opset 9",
        "g = GlobalAveragePool (c)\n s = Squeeze <axes = [2, 3]> (g)\n"
        "u = Unsqueeze <axes = [2, 3]> (s)\n z = Mul (c, u)",
        opset=9,
    ),
    Case(
        "Squeeze and Unsqueeze, opset 13",
        "g = GlobalAveragePool (c)\n s = Squeeze (g, axes)\n u = Unsqueeze (s, axes)\n"
        "z = Mul (c, u)",
        "int64[2] axes = {-2, -1}",
        opset=13,
    ),
    Case(
        "Squeeze of whatever is 1",
        "g = GlobalAveragePool (c)\n s = Squeeze (g)\n u = Unsqueeze (s, axes)\n z = Mul (c, u)",
        "int64[3] axes = {0, 2, 3}",
        opset=18,
    ),
    Case(
        "Flatten to Gemm",
        "g = Flatten (c)\n y = Gemm (g, m)",
        "float[512,2] m",
        shapes={"m": (256, 2)},
    ),
    Case(
        "Reshape to MatMul",
        "g = Reshape (c, rows)\n y = MatMul (g, m)",
        "int64[2] rows = {0, 512}, float[512,2] m",
        shapes={"m": (256, 2)},
        integers={"rows": [0, 256]},
    ),
    Case(
        "Reshape there and back",
        "g = Reshape (c, flat)\n z = Reshape (g, back)",
        "int64[3] flat = {1, 8, -1}, int64[4] back = {1, 8, 8, 8}",
        integers={"flat": [1, 4, -1], "back": [1, 4, 8, 8]},
    ),
    Case(
        "Reshape by attribute-free zeros",
        "g = Reshape (c, flat)\n z = Reshape (g, back)",
        "int64[3] flat = {0, 0, -1}, int64[4] back = {0, -1, 8, 8}",
        integers={"flat": [0, 0, -1], "back": [0, -1, 8, 8]},
    ),
    Case(
        "Reshape that joins pairs of channels",
        "z = Reshape (c, target)",
        "int64[4] target = {1, 4, 16, 8}",
        n=4,
        keep=[],
        integers={"target": [1, 2, 16, 8]},
        shapes={"head_w": (2, 2, 1, 1)},
    ),
    Case(
        "Reshape to a computed shape",
        "s = Shape (c)\n n = Gather (s, i)\n u = Unsqueeze (n, zero)\n"
        "t = Concat <axis = 0> (one, u, rest)\n r = Reshape (c, t)\n z = Reshape (r, s)",
        "int64 i = {1}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}",
    ),
    Case(
        "Reshape to a computed shape with a written channel count",
        "s = Shape (c)\n n = Gather (s, i)\n u = Unsqueeze (n, zero)\n"
        "t = Concat <axis = 0> (u, eight, rest)\n r = Reshape (c, t)\n z = Reshape (r, s)",
        "int64 i = {0}, int64[1] zero = {0}, int64[1] eight = {8}, int64[1] rest = {-1}",
        integers={"eight": [4]},
    ),
    Case(
        "Reshape to a computed half of the channels",
        "s = Shape (c)\n n = Gather (s, i)\n d = Div (n, two)\n u = Unsqueeze (d, zero)\n"
        "t = Concat <axis = 0> (one, u, rest)\n r = Reshape (c, t)\n z = Reshape (r, s)",
        "int64 i = {1}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1},"
        "int64 two = {2}",
        keep=[],
    ),
    Case(
        "channel shuffle",
        "a = Reshape (c, five)\n b = Transpose <perm = [0,2,1,3,4]> (a)\n z = Reshape (b, four)",
        "int64[5] five = {1, 2, 4, 8, 8}, int64[4] four = {1, 8, 8, 8}",
        keep=[],
        integers={"five": [1, 2, 2, 8, 8], "four": [1, 4, 8, 8]},
    ),
    Case(
        "Transpose to channels last and back",
        "t = Transpose <perm = [0,2,3,1]> (c)\n m = Mul (t, k)\n"
        "z = Transpose <perm = [0,3,1,2]> (m)",
        "float[8] k",
        shapes={"k": (4,)},
    ),
    Case(
        "MatMul in channels last",
        "t = Transpose <perm = [0,2,3,1]> (c)\n m = MatMul (t, k)\n"
        "z = Transpose <perm = [0,3,1,2]> (m)",
        "float[8,6] k",
        n=6,
        shapes={"k": (4, 3), "head_w": (2, 3, 1, 1)},
    ),
    Case("DepthToSpace", "z = DepthToSpace <blocksize = 2> (c)", n=2, keep=[]),
    Case(
        "DepthToSpace column by row",
        'z = DepthToSpace <blocksize = 2, mode = "CRD"> (c)',
        n=2,
        keep=[],
    ),
    Case(
        "SpaceToDepth",
        "z = SpaceToDepth <blocksize = 2> (c)",
        n=32,
        shapes={"head_w": (2, 16, 1, 1)},
    ),
    Case(
        "Expand",
        "g = GlobalAveragePool (c)\n z = Expand (g, shape)",
        "int64[4] shape = {1, 8, 8, 8}",
        integers={"shape": [1, 4, 8, 8]},
    ),
    Case(
        "Expand by ones",
        "g = GlobalAveragePool (c)\n z = Expand (g, shape)",
        "int64[4] shape = {1, 1, 8, 8}",
        integers={"shape": [1, 1, 8, 8]},
    ),
    Case(
        "Expand to a computed shape",
        "s = Shape (c)\n g = GlobalAveragePool (c)\n z = Expand (g, s)",
    ),
    Case("Tile positions", "z = Tile (c, r)", "int64[4] r = {1, 1, 1, 2}"),
    Case(
        "Tile channels",
        "z = Tile (c, r)",
        "int64[4] r = {1, 2, 1, 1}",
        n=16,
        shapes={"head_w": (2, 8, 1, 1)},
    ),
]

PARTS = [
    Case(
        "Split of opset 11",
        "l, r = Split <axis = 1, split = [3, 5]> (c)\n z = Concat <axis = 1> (r, l)",
        opset=11,
    ),
    Case(
        "Split of opset 13",
        "l, r = Split <axis = 1> (c, sizes)\n z = Concat <axis = 1> (r, l)",
        "int64[2] sizes = {3, 5}",
        opset=13,
        integers={"sizes": [2, 2]},
    ),
    Case(
        "Split without sizes, opset 11",
        "l, r = Split <axis = 1> (c)\n z = Concat <axis = 1> (r, l)",
        opset=11,
    ),
    Case(
        "Split without sizes, opset 13",
        "l, r = Split <axis = 1> (c)\n z = Concat <axis = 1> (r, l)",
        opset=13,
    ),
    Case(
        "Split into an uneven number, opset 18",
        "l, m, r = Split <axis = 1, num_outputs = 3> (c)\n z = Concat <axis = -3> (r, l, m)",
        opset=18,
    ),
    Case(
        "Split of positions",
        "l, r = Split <axis = 2> (c, sizes)\n z = Concat <axis = 2> (r, l)",
        "int64[2] sizes = {3, 5}",
        integers={"sizes": [3, 5]},
    ),
    Case(
        "Concat with a constant",
        "z = Concat <axis = 1> (k, c)",
        "float[1,2,8,8] k",
        n=10,
        shapes={"k": (1, 2, 8, 8), "head_w": (2, 6, 1, 1)},
    ),
    Case(
        "Concat with itself",
        "r = Relu (c)\n z = Concat <axis = 1> (c, r)",
        n=16,
        shapes={"head_w": (2, 8, 1, 1)},
    ),
    Case(
        "Slice of opset 9",
        "s = Slice <axes = [1], starts = [2], ends = [7]> (c)\n z = Concat <axis = 1> (s, c)",
        n=13,
        opset=9,
        shapes={"head_w": (2, 6, 1, 1)},
    ),
    Case(
        "Slice of opset 13",
        "s = Slice (c, starts, ends, axes)\n z = Concat <axis = 1> (s, c)",
        "int64[1] starts = {2}, int64[1] ends = {7}, int64[1] axes = {1}",
        n=13,
        integers={"starts": [1], "ends": [3]},
        shapes={"head_w": (2, 6, 1, 1)},
    ),
    Case(
        "Slice with a negative end",
        "s = Slice (c, starts, ends, axes)\n z = Concat <axis = 1> (s, c)",
        "int64[1] starts = {0}, int64[1] ends = {-2}, int64[1] axes = {1}",
        n=14,
        shapes={"head_w": (2, 7, 1, 1)},
    ),
    Case(
        "Slice with a negative start",
        "s = Slice (c, starts, ends, axes)\n z = Concat <axis = 1> (s, c)",
        "int64[1] starts = {-3}, int64[1] ends = {9223372036854775807}, int64[1] axes = {-3}",
        n=11,
        shapes={"head_w": (2, 6, 1, 1)},
    ),
    Case(
        "Slice of channels and positions",
        "s = Slice (c, starts, ends)\n p = Slice (c, lo, hi, axes, steps)\n"
        "z = Concat <axis = 1> (s, p)",
        "int64[3] starts = {0, 1, 2}, int64[3] ends = {1, 4, 6}, int64[2] lo = {0, 0},"
        "int64[2] hi = {100, 8}, int64[2] axes = {2, 3}, int64[2] steps = {2, 1}",
        n=11,
        integers={"starts": [0, 1, 2], "ends": [1, 2, 6]},
        shapes={"head_w": (2, 5, 1, 1)},
    ),
    Case(
        "Gather one channel",
        "p = Gather <axis = 1> (c, i)\n u = Unsqueeze (p, one)\n z = Concat <axis = 1> (c, u)",
        "int64 i = {3}, int64[1] one = {1}",
        n=9,
        keep=[],
        left=5,  # half of the seven channels that may go
        shapes={"head_w": (2, 6, 1, 1)},
    ),
    Case(
        "Gather several channels",
        "p = Gather <axis = 1> (c, i)\n z = Concat <axis = 1> (c, p)",
        "int64[5] i = {7, 0, 3, -3, 7}",
        n=13,
        integers={"i": [3, 0, -2, 3]},
        shapes={"head_w": (2, 8, 1, 1)},
    ),
    Case(
        "Slice at a computed half",
        "s = Shape (c)\n n = Slice (s, one, two)\n h = Div (n, two)\n"
        "l = Slice (c, zero, h, one)\n r = Slice (c, h, n, one)\n z = Concat <axis = 1> (r, l)",
        "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}",
        keep=[],
    ),
    Case(
        "local function",
        "z = local.twice (c)",
        functions="""<domain: "local", opset_import: ["" : 17]>
        twice (a) => (b) { b = Add (a, a) }""",
    ),
    Case("Gather positions", "z = Gather <axis = 2> (c, i)", "int64[3] i = {0, 3, 2}"),
    Case(
        "Pad positions of opset 9",
        "z = Pad <pads = [0,0,1,1,0,0,1,1]> (c)",
        opset=9,
    ),
    Case(
        "Pad positions by reflection",
        'z = Pad <mode = "reflect"> (c, pads)',
        "int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}",
    ),
    Case(
        "Pad positions by axes, opset 18",
        "z = Pad (c, pads, , axes)",
        "int64[4] pads = {1, 1, 2, 2}, int64[2] axes = {2, 3}",
        opset=18,
    ),
    Case(
        "Pad channels of opset 9",
        "z = Pad <pads = [0,1,0,0,0,2,0,0]> (c)",
        n=11,
        opset=9,
        shapes={"head_w": (2, 7, 1, 1)},
    ),
    Case(
        "Pad channels of opset 13",
        "z = Pad (c, pads)",
        "int64[8] pads = {0, 1, 0, 0, 0, 2, 0, 0}",
        n=11,
        opset=13,
        integers={"pads": [0, 1, 0, 0, 0, 2, 0, 0]},
        shapes={"head_w": (2, 7, 1, 1)},
    ),
    Case(
        "Resize by scales",
        "z = Resize (c, , scales)",
        "float[4] scales = {1.0, 1.0, 2.0, 2.0}",
        shapes={"scales": (4,)},
    ),
    Case(
        "Resize to sizes",
        "z = Resize (c, , , sizes)",
        "int64[4] sizes = {1, 8, 16, 16}",
        integers={"sizes": [1, 4, 16, 16]},
    ),
    Case(
        "Resize to computed sizes",
        "s = Shape (c)\n n = Slice (s, zero, two)\n t = Concat <axis = 0> (n, sides)\n"
        "z = Resize (c, , , t)",
        "int64[1] zero = {0}, int64[1] two = {2}, int64[2] sides = {12, 12}",
    ),
    Case(
        "Upsample",
        "z = Upsample (c, scales)",
        "float[4] scales = {1.0, 1.0, 2.0, 2.0}",
        opset=9,
    ),
]

LAYERS = [
    Case(
        "ConvTranspose reads it",
        "[other] z = ConvTranspose <strides = [2,2]> (c, d_w, d_b)",
        "float[8,6,2,2] d_w, float[6] d_b",
        n=6,
        shapes={"d_w": (4, 3, 2, 2), "d_b": (3,), "head_w": (2, 3, 1, 1)},
    ),
    Case(
        "depthwise Conv",
        "[other] z = Conv <group = 8> (c, d_w)",
        "float[8,1,1,1] d_w",
        shapes={"d_w": (4, 1, 1, 1)},
        keep=[],
    ),
    Case(
        "depthwise ConvTranspose",
        "[other] z = ConvTranspose <group = 8> (c, d_w)",
        "float[8,1,2,2] d_w",
        shapes={"d_w": (4, 1, 2, 2)},
        keep=[],
    ),
    Case(
        "grouped Conv",
        "[other] z = Conv <group = 2> (c, d_w)",
        "float[6,4,1,1] d_w",
        n=6,
        keep=[],
    ),
    Case(
        "Gemm with the matrix as it is",
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n [other] r = Gemm (h, m, b)\n"
        "y = Gemm <transB = 1> (r, k)",
        "float[8,6] m, float[6] b, float[2,6] k",
        shapes={"m": (4, 3), "b": (3,), "k": (2, 3)},
    ),
    Case(
        "MatMul with a matrix that the graph transposes",
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n t = Transpose <perm = [1, 0]> (m)\n"
        "y = MatMul (h, t)",
        "float[2,8] m",
        shapes={"t": (4, 2)},
    ),
    Case(
        "Einsum that is a matmul",
        "t = Transpose <perm = [0,2,3,1]> (c)\n"
        ' m = Einsum <equation = "bhwc,cd->bhwd"> (t, k)\n'
        "z = Transpose <perm = [0,3,1,2]> (m)",
        "float[8,6] k",
        n=6,
        shapes={"k": (4, 3), "head_w": (2, 3, 1, 1)},
    ),
    Case(
        "Conv with a weight that the graph standardises",
        "m = ReduceMean <axes = [1, 2, 3]> (d_w)\n s = Sub (d_w, m)\n [other] z = Conv (c, s)",
        "float[6,8,1,1] d_w",
        n=6,
        shapes={"s": (3, 4, 1, 1)},
    ),
    Case(
        "two Convs with one bias",
        "[other] d = Conv (c, d_w, b)\n [another] e = Conv (c, e_w, b)\n z = Mul (d, e)",
        "float[6,8,1,1] d_w, float[6,8,1,1] e_w, float[6] b",
        n=6,
        shapes={"d_w": (3, 4, 1, 1), "e_w": (3, 4, 1, 1), "b": (3,)},
    ),
]

BOUNDED = "t = Tanh (c)\n s = Mul (t, most)"
POSITIVE = "a = Abs (c)\n s = Add (a, least)"
GUARDED = {
    BOUNDED: ("float most = {0.9}", ["Acos", "Asin", "Atanh", "Cosh", "Sinh", "Tan"]),
    POSITIVE: ("float least = {0.2}", ["Log", "Reciprocal", "Sqrt"]),
    "a = Abs (c)\n s = Add (a, one)": ("float one = {1.1}", ["Acosh"]),
    "s = Mul (c, k)": ("float k = {3.0}", ["Asinh", "Atan", "Ceil", "Cos", "Round", "Shrink"]),
}

MORE = [
    Case(op, f"{guard}\n z = {op} (s)", weights)
    for guard, (weights, ops) in GUARDED.items()
    for op in ops
]
MORE += [
    Case(
        op,
        f"p = {op} (c, k)\n q = Cast <to = 1> (p)\n z = Add (q, c)",
        "float[8,1,1] k",
        shapes={"k": (4, 1, 1)},
    )
    for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
]
MORE += [
    Case(
        op,
        f"p = Greater (c, k)\n n = Neg (c)\n q = Less (n, k)\n r = {op} (p, q)\n"
        "f1 = Cast <to = 1> (r)\n z = Add (c, f1)",
        "float[8,1,1] k",
        shapes={"k": (4, 1, 1)},
    )
    for op in ("And", "Or", "Xor")
]
MORE += [
    Case(
        op,
        f"h = Mul (c, ten)\n i = Cast <to = 6> (h)\n b = {op} (i, k)\n"
        "r = Cast <to = 1> (b)\n z = Add (c, r)",
        "float ten = {10.0}, int32[8,1,1] k = {1, 2, 3, 4, 5, 6, 7, 9}",
        opset=18,
        shapes={"k": (4, 1, 1)},
    )
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mod")
]
MORE += [
    Case(
        op,
        f"s = ReduceMax <axes = [2]> (c)\n p = Abs (c)\n r = {op} <axes = [-1]> (p)\n"
        "z = Mul (r, s)",
    )
    for op in (
        "ReduceL1",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
    )
]
MORE += [
    Case("ArgMin over positions", "a = ArgMin <axis = 3> (c)\n z = Cast <to = 1> (a)"),
    Case("GlobalLpPool", "z = GlobalLpPool (c)"),
    Case("Mean of itself", "r = Relu (c)\n z = Mean (c, r, k)", "float[8,1,1] k"),
    Case("Not", "p = Greater (c, k)\n q = Not (p)\n z = Cast <to = 1> (q)", "float k = {0.1}"),
    Case("IsNaN", "p = IsNaN (c)\n q = Cast <to = 1> (p)\n z = Add (c, q)"),
    Case("IsInf", "p = IsInf (c)\n q = Cast <to = 1> (p)\n z = Add (c, q)"),
    Case(
        "BitwiseNot",
        "h = Mul (c, ten)\n i = Cast <to = 6> (h)\n b = BitwiseNot (i)\n z = Cast <to = 1> (b)",
        "float ten = {10.0}",
        opset=18,
    ),
    Case("Swish", "z = Swish (c)", opset=24),
    Case(
        "RMSNormalization over positions",
        "z = RMSNormalization <axis = -1> (c, scale)",
        "float[8] scale",
        opset=23,
        shapes={"scale": (8,)},
    ),
]

# Ops that opset 10 dropped and onnx.checker never knew; ONNX Runtime still has their kernels.
RETIRED = [
    Case("Affine", "z = Affine <alpha = 2.0, beta = 1.0> (c)", opset=7),
    Case("Crop", "z = Crop <border = [1, 1, 2, 1]> (c)", opset=7),
    Case("Crop to a size", "z = Crop <border = [1, 2, 1, 1], scale = [4, 5]> (c)", opset=7),
    Case("ParametricSoftplus", "z = ParametricSoftplus <alpha = 2.0, beta = 1.0> (c)", opset=7),
    Case("ScaledTanh", "z = ScaledTanh <alpha = 2.0, beta = 1.0> (c)", opset=7),
]
RETIRED_OPS = {"Affine", "Crop", "ImageScaler", "ParametricSoftplus", "ScaledTanh"}

IMAGE = Case(
    "ImageScaler of the image",
    "s = ImageScaler <scale = 2.0, bias = [0.1, 0.2, 0.3]> (x)\n d = Conv (s, d_w)\n"
    "e = Conv (c, e_w)\n y = Add (d, e)",
    "float[2,3,1,1] d_w, float[2,8,1,1] e_w",
    opset=7,
)

FREE = ELEMENTWISE + NORMALIZATION + WINDOWS + REDUCTION + SHAPES + PARTS + LAYERS + MORE + RETIRED
FREE.append(IMAGE)

LOCKED = [
    Case(
        "ImageScaler of channels",
        "z = ImageScaler <scale = 2.0, bias = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]> (c)",
        opset=7,
        reason="has one bias per channel",
    ),
    Case(
        "unknown op",
        "z = CumSum (c, axis)",
        "int64 axis = {1}",
        reason="no rule for op CumSum",
    ),
    Case(
        "custom domain",
        "z = com.microsoft.Gelu (c)",
        reason="custom domain 'com.microsoft'",
    ),
    Case(
        "body of an If",
        "m = ReduceMax <keepdims = 0> (x)\n q = Greater (m, zero)\n"
        "z = If (q) <then_branch = yes () => (float[1,8,8,8] a) { a = Relu (c) },"
        " else_branch = no () => (float[1,8,8,8] b) { b = Neg (c) }>",
        "float zero = {0.0}",
        reason="inside its body",
    ),
    Case("Softmax over channels", "z = Softmax <axis = 1> (c)", reason="Softmax.* mixes"),
    Case("Softmax over all, opset 11", "z = Softmax <axis = 1> (c)", opset=11, reason="mixes"),
    Case("Softmax by default, opset 11", "z = Softmax (c)", opset=11, reason="mixes"),
    Case("LogSoftmax over channels", "z = LogSoftmax <axis = -3> (c)", reason="mixes"),
    Case("Hardmax over channels", "z = Hardmax <axis = 1> (c)", reason="mixes"),
    Case("LpNormalization over channels", "z = LpNormalization <axis = 1> (c)", reason="mixes"),
    Case("LRN", "z = LRN <size = 3> (c)", reason="LRN.* mixes"),
    Case(
        "LayerNormalization in channels last",
        "t = Transpose <perm = [0,2,3,1]> (c)\n n = LayerNormalization <axis = -1> (t, k)\n"
        "z = Transpose <perm = [0,3,1,2]> (n)",
        "float[8] k",
        reason="LayerNormalization.* mixes",
    ),
    Case("ReduceMean over channels", "z = ReduceMean <axes = [1]> (c)", n=1, reason="mixes"),
    Case(
        "ReduceMax over channels, opset 18",
        "z = ReduceMax (c, axes)",
        "int64[1] axes = {-3}",
        n=1,
        opset=18,
        reason="ReduceMax.* mixes",
    ),
    Case(
        "ReduceSum over everything",
        "s = ReduceSum (c)\n z = Add (c, s)",
        reason="ReduceSum.* mixes",
    ),
    Case(
        "ArgMax over channels",
        "a = ArgMax <axis = 1> (c)\n z = Cast <to = 1> (a)",
        n=1,
        reason="ArgMax.* mixes",
    ),
    Case(
        "every second channel",
        "z = Slice (c, starts, ends, axes, steps)",
        "int64[1] starts = {0}, int64[1] ends = {8}, int64[1] axes = {1}, int64[1] steps = {2}",
        n=4,
        reason="takes channels in steps of 2",
    ),
    Case(
        "channels in reverse",
        "z = Slice (c, starts, ends, axes, steps)",
        "int64[1] starts = {-1}, int64[1] ends = {-100}, int64[1] axes = {1},int64[1] steps = {-1}",
        reason="channel",
    ),
    Case(
        "channels become the batch",
        "z = Reshape (c, target)",
        "int64[4] target = {8, 1, 8, 8}",
        n=1,
        reason="works across the channels",
    ),
    Case(
        "MatMul of activations",
        "r = Reshape (c, flat)\n t = Transpose <perm = [0,2,1]> (r)\n m = MatMul (r, t)\n"
        "u = Unsqueeze (m, one)\n z = Transpose <perm = [0,2,1,3]> (u)",
        "int64[3] flat = {1, 8, 64}, int64[1] one = {1}",
        reason="multiplies activations",
    ),
    Case(
        "MaxPool with indices",
        "z, i = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c)",
        reason="indices",
    ),
    Case(
        "Pad of channels by reflection",
        'z = Pad <mode = "reflect"> (c, pads)',
        "int64[8] pads = {0, 1, 0, 0, 0, 1, 0, 0}",
        n=10,
        reason="Pad",
    ),
    Case(
        "Resize of channels",
        "z = Resize (c, , scales)",
        "float[4] scales = {1.0, 2.0, 1.0, 1.0}",
        n=16,
        reason="Resize",
    ),
    Case(
        "Gather at computed places",
        "a = ReduceMax <keepdims = 0> (x)\n i = Cast <to = 7> (a)\n m = Min (i, zero)\n"
        "n = Max (m, zero)\n u = Unsqueeze (n, axes)\n z = Gather <axis = 1> (c, u)",
        "int64 zero = {0}, int64[1] axes = {0}",
        n=1,
        reason="Gather",
    ),
    Case(
        "weight that is computed",
        "g = GlobalAveragePool (c)\n y = Conv (c, g)",
        reason="Conv.* is not understood|not a constant",
    ),
    Case(
        "graph output",
        "y = Relu (c)",
        reason="graph output 'y'",
    ),
    Case(
        "batch statistics across channels",
        "z = MeanVarianceNormalization <axes = [0, 1, 2, 3]> (c)",
        reason="mixes",
    ),
]


def test_every_op_of_the_table_has_a_text_graph() -> None:
    found = {node.op_type for case in FREE + LOCKED for node in network(case).graph.node}

    assert {op for _, op in RULES} - found == set()


def assert_as_expected(case: Case, result: rp.Pruned) -> None:
    proto = result.model.proto
    if not RETIRED_OPS & {node.op_type for node in proto.graph.node}:
        onnx.checker.check_model(proto, full_check=True)
    assert result.report["verification"]["passed"] is True
    assert len(kept(result)) == case.left, result.report["locked"]
    if case.keep:
        assert kept(result) == case.keep
    found = constants(proto)
    for name, shape in case.shapes.items():
        assert found[name].shape == shape, name
    for name, values in case.integers.items():
        assert found[name].tolist() == values, name


@pytest.mark.parametrize("case", FREE, ids=lambda case: case.name)
def test_channels_can_go(case: Case) -> None:
    assert_as_expected(case, pruned(network(case)))


@pytest.mark.parametrize("case", FREE, ids=lambda case: case.name)
def test_sizes_may_be_symbolic(case: Case) -> None:
    proto = network(case)
    del proto.graph.value_info[:]
    for value in (proto.graph.input[0], proto.graph.output[0]):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if value.name == "y" or axis != 1:
                dim.dim_param = f"{value.name}{axis}"

    result = pruned(proto, input_shapes=(("x", (1, 3, 8, 8)),))

    assert_as_expected(case, result)


@pytest.mark.parametrize("case", FREE, ids=lambda case: case.name)
def test_constant_nodes_are_weights_too(case: Case) -> None:
    proto = network(case)
    weights = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    for k, tensor in enumerate(weights):
        node = helper.make_node("Constant", [], [tensor.name], value=tensor)
        proto.graph.node.insert(k, node)

    assert_as_expected(case, pruned(proto))


@pytest.mark.parametrize("case", FREE, ids=lambda case: case.name)
def test_nothing_is_rewritten_where_nothing_goes(case: Case) -> None:
    proto = network(case)

    result = rp.prune(rp.Model(proto), rp.Settings(sparsity=0.0, residual="prune"))

    assert result.model.proto.graph == proto.graph
    assert result.report["rewritten"] == []


@pytest.mark.parametrize("case", LOCKED, ids=lambda case: case.name)
def test_channels_stay_with_a_reason(case: Case) -> None:
    result = pruned(network(case))

    assert kept(result) == ALL
    reasons = [lock["reason"] for lock in result.report["locked"]]
    assert any(re.search(case.reason, reason) for reason in reasons), reasons
    layers = {layer["node"]: layer["out_channels"] for layer in result.report["layers"]}
    assert layers["first"] == [6, 3]
    assert result.report["verification"]["passed"] is True


def test_an_op_that_no_runtime_knows_locks_and_is_not_an_error() -> None:
    case = Case("", "z = other.Magic (c)")

    result = pruned(network(case), verify=False)

    assert kept(result) == ALL
    reasons = [lock["reason"] for lock in result.report["locked"]]
    assert any("custom domain 'other'" in reason for reason in reasons)


def test_the_picked_channel_stays() -> None:
    (case,) = [c for c in PARTS if c.name == "Gather one channel"]

    result = pruned(network(case))

    assert 3 in kept(result)
    index = kept(result).index(3)
    assert int(constants(result.model.proto)["i"]) == index
    assert any("picks this very channel" in lock["reason"] for lock in result.report["locked"])


@pytest.mark.parametrize("case", FREE, ids=lambda case: case.name)
def test_initializers_may_be_inputs_too(case: Case) -> None:
    """As in the files of early exporters: IR 3 lists every initializer among the graph's inputs."""
    proto = network(case)
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )

    result = pruned(proto)

    given = constants(proto)  # a weight that the graph computes becomes one more input: a new name
    own = {name: shape for name, shape in case.shapes.items() if name in given}
    assert_as_expected(replace(case, shapes=own), result)
    dims = {t.name: tuple(t.dims) for t in result.model.proto.graph.initializer}
    inputs = {
        i.name: tuple(d.dim_value for d in i.type.tensor_type.shape.dim)
        for i in result.model.proto.graph.input
    }
    assert {name: inputs[name] for name in dims} == dims
