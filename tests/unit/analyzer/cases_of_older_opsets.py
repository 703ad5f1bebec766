"""Ops as opsets 1 to 6 wrote them, each beside what says the same in opset 13."""

from __future__ import annotations

from dataclasses import replace

from rule_graphs import Case

_NORM = "float[8] s, float[8] b, float[8] m, float[8] var"


def _older(name: str, opset: int, body: str, weights: str = "", **more: object) -> Case:
    return replace(Case(f"{name}, opset {opset}", body, weights, opset=opset), **more)


OLDER: list[tuple[Case, str]] = [
    (
        _older(
            "BatchNormalization",
            1,
            "z = BatchNormalization <consumed_inputs = [0,0,0,1,1], is_test = 1, spatial = 1,"
            " epsilon = 0.01> (c, s, b, m, var)",
            _NORM,
            shapes={"s": (4,), "var": (4,)},
        ),
        "z = BatchNormalization <epsilon = 0.01> (c, s, b, m, var)",
    ),
    (
        _older(
            "BatchNormalization",
            6,
            "z = BatchNormalization <is_test = 1> (c, s, b, m, var)",
            _NORM,
            shapes={"m": (4,)},
        ),
        "z = BatchNormalization (c, s, b, m, var)",
    ),
    (
        _older(
            "what may be overwritten",
            5,
            "r = LeakyRelu <alpha = 0.2, consumed_inputs = [0]> (c)\n"
            "q = Clip <min = -0.5, max = 0.7, consumed_inputs = [0]> (r)\n"
            "d, mask = Dropout <is_test = 1, ratio = 0.4, consumed_inputs = [0]> (q)\n"
            "t = Tanh <consumed_inputs = [0]> (c)\n"
            "z = Sum <consumed_inputs = [0, 0]> (d, t)",
        ),
        "r = LeakyRelu <alpha = 0.2> (c)\n low = Constant <value_float = -0.5> ()\n"
        "high = Constant <value_float = 0.7> ()\n q = Clip (r, low, high)\n t = Tanh (c)\n"
        "z = Sum (q, t)",
    ),
    (
        _older("Dropout", 6, "z = Dropout <is_test = 1> (c)"),
        "z = Identity (c)",
    ),
    (
        _older(
            "Reshape by an attribute",
            1,
            "r = Reshape <shape = [1, -1, 64], consumed_inputs = [0]> (c)\n"
            "z = Reshape <shape = [0, 8, 8, 8]> (r)",
        ),
        "a = Constant <value = int64[3] {1, -1, 64}> ()\n r = Reshape (c, a)\n"
        "e = Constant <value = int64[4] {0, 8, 8, 8}> ()\n z = Reshape (r, e)",
    ),
    (
        _older("Pad", 1, "z = Pad <paddings = [0,0,1,2,0,0,1,2], value = 0.3> (c)"),
        "p = Constant <value = int64[8] {0,0,1,2,0,0,1,2}> ()\n"
        "v = Constant <value_float = 0.3> ()\n z = Pad (c, p, v)",
    ),
    (
        _older("Pad", 2, 'z = Pad <pads = [0,0,1,1,0,0,2,2], mode = "edge"> (c)'),
        'p = Constant <value = int64[8] {0,0,1,1,0,0,2,2}> ()\n z = Pad <mode = "edge"> (c, p)',
    ),
    (
        _older("Upsample", 1, "z = Upsample <height_scale = 2.0, width_scale = 3.0> (c)"),
        "k = Constant <value = float[4] {1.0, 1.0, 2.0, 3.0}> ()\n"
        'z = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
        " (c, , k)",
    ),
    (
        _older(
            "Gemm that adds a row",
            6,
            "g = GlobalAveragePool (c)\n w = Flatten (g)\n"
            "h = Gemm <broadcast = 1, transB = 1> (w, fc_w, fc_b)\n"
            "z = Unsqueeze <axes = [2, 3]> (h)",
            "float[5,8] fc_w, float[5] fc_b",
            n=5,
            shapes={"fc_w": (3, 4)},
        ),
        "g = GlobalAveragePool (c)\n w = Flatten (g)\n h = Gemm <transB = 1> (w, fc_w, fc_b)\n"
        "k = Constant <value = int64[2] {2, 3}> ()\n z = Unsqueeze (h, k)",
    ),
    (
        _older(
            "Mul and Add from an axis on",
            1,
            "p = Mul <broadcast = 1, axis = 1, consumed_inputs = [0, 0]> (c, k)\n"
            "z = Add <broadcast = 1, axis = 1> (p, q)",
            "float[8] k, float[8] q",
            shapes={"k": (4,), "q": (4,)},
        ),
        "x1 = Constant <value = int64[2] {1, 2}> ()\n k3 = Unsqueeze (k, x1)\n"
        "q3 = Unsqueeze (q, x1)\n p = Mul (c, k3)\n z = Add (p, q3)",
    ),
    (
        _older(
            "an axis counted from the end, before more axes",
            6,
            "z = Sub <broadcast = 1, axis = -3> (c, k)",
            "float[8,8] k",
            shapes={"k": (4, 8)},
        ),
        "x1 = Constant <value = int64[1] {2}> ()\n k3 = Unsqueeze (k, x1)\n z = Sub (c, k3)",
    ),
    (
        _older(
            "the last axes without an axis",
            6,
            "p = Mul <broadcast = 1> (c, k)\n z = Div <broadcast = 1> (p, two)",
            "float[8] k, float[1] two = {2.0}",
            shapes={"k": (8,)},
        ),
        "p = Mul (c, k)\n z = Div (p, two)",
    ),
    (
        _older(
            "channels scaled by what they are on average",
            4,
            "g = GlobalAveragePool (c)\n w = Flatten (g)\n"
            "e = Sigmoid <consumed_inputs = [0]> (w)\n"
            "z = Mul <broadcast = 1, axis = 0> (c, e)",
        ),
        "g = GlobalAveragePool (c)\n e = Sigmoid (g)\n z = Mul (c, e)",
    ),
    (
        _older(
            "PRelu with a slope per channel, as many as columns",
            6,
            "z = PRelu (c, k)",
            "float[8] k",
            shapes={"k": (4,)},
        ),
        "x1 = Constant <value = int64[2] {1, 2}> ()\n k3 = Unsqueeze (k, x1)\n z = PRelu (c, k3)",
    ),
    (
        _older(
            "Cast by a name",
            1,
            'q = Greater <broadcast = 1> (c, k)\n w = Cast <to = "FLOAT"> (q)\n z = Mul (c, w)',
            "float[1] k = {0.1}",
        ),
        "q = Greater (c, k)\n w = Cast <to = 1> (q)\n z = Mul (c, w)",
    ),
    (
        _older(
            "Concat of parts without an axis",
            1,
            "a, e = Split <axis = 1, split = [3, 5]> (c)\n r = Relu (a)\n z = Concat (r, e)",
        ),
        "k = Constant <value = int64[2] {3, 5}> ()\n a, e = Split <axis = 1> (c, k)\n"
        "r = Relu (a)\n z = Concat <axis = 1> (r, e)",
    ),
    (
        _older("norms", 1, "l = LpPool <p = 2.0, kernel_shape = [2,2]> (c)\n z = Abs (l)"),
        "l = LpPool <p = 2, kernel_shape = [2,2]> (c)\n z = Abs (l)",
    ),
]

OLDER_FIXED: list[tuple[Case, str]] = [
    (
        _older(
            "Tile by one axis",
            1,
            "z = Tile (c, times, axis)",
            "float[1] times = {2.0}, float[1] axis = {3.0}",
            reason="Tile.* is not understood",
        ),
        "r = Constant <value = int64[4] {1, 1, 1, 2}> ()\n z = Tile (c, r)",
    ),
    (
        _older(
            "sizes of parts as an input",
            1,
            "a, z = Split <axis = 1> (c, sizes)",
            "float[2] sizes = {3.0, 5.0}",
            n=5,
            reason="Split.* is not understood",
        ),
        "k = Constant <value = int64[2] {3, 5}> ()\n a, z = Split <axis = 1> (c, k)",
    ),
]
"""Numbers of opset 1 that have the type of the data: run as they are, channels stay."""
