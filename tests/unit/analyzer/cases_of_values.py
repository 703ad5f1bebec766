"""Ops that compute values where channels stay where they are."""

from __future__ import annotations

from rule_graphs import Case

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
    Case("CastLike there and back", "h = Cast <to = 11> (c)\n z = CastLike (h, c)"),
    Case(
        "CastLike of a constant",
        "k = CastLike (whole, c)\n z = Mul (c, k)",
        "int64[8,1,1] whole = {1, 2, 3, 4, 5, 6, 7, 8}",
        shapes={"k": (4, 1, 1)},
    ),
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
    Case(
        "a string that nobody reads",
        'k = Constant <value_string = "channels"> ()\n z = Relu (c)',
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
        "BatchNormalization along another axis than the channels",
        "t = Transpose <perm = [0,2,1,3]> (c)\n"
        "b = BatchNormalization (t, gamma, beta, mean, var)\n"
        "z = Transpose <perm = [0,2,1,3]> (b)",
        "float[8] gamma, float[8] beta, float[8] mean, float[8] var",
        shapes={"gamma": (8,), "beta": (8,), "mean": (8,), "var": (8,)},
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
        "ReduceSum along no axes",
        "z = ReduceSum <noop_with_empty_axes = 1> (c, axes)",
        "int64[0] axes = {}",
    ),
    Case(
        "ReduceMax without the axes",
        "r = ReduceMax <axes = [3], keepdims = 0> (c)\nz = Unsqueeze (r, last)",
        "int64[1] last = {3}",
    ),
    Case(
        "ReduceL2 over no axis",
        "z = ReduceL2 <noop_with_empty_axes = 1> (c)",
        opset=18,
        since="1.24",
    ),
    Case("ArgMax over positions", "a = ArgMax <axis = 3> (c)\n z = Cast <to = 1> (a)"),
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
    Case("Swish", "z = Swish (c)", opset=24, since="1.24"),
    Case(
        "RMSNormalization over positions",
        "z = RMSNormalization <axis = -1> (c, scale)",
        "float[8] scale",
        opset=23,
        since="1.23",
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

IMAGE = Case(
    "ImageScaler of the image",
    "s = ImageScaler <scale = 2.0, bias = [0.1, 0.2, 0.3]> (x)\n d = Conv (s, d_w)\n"
    "e = Conv (c, e_w)\n y = Add (d, e)",
    "float[2,3,1,1] d_w, float[2,8,1,1] e_w",
    opset=7,
)
