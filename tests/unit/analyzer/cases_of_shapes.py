"""Ops that move, join and part channels."""

from __future__ import annotations

from rule_graphs import Case

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
        "SplitToSequence with sizes",
        "s = SplitToSequence <axis = 1> (c, sizes)\n l = SequenceAt (s, zero)\n"
        "r = SequenceAt (s, last)\n z = Concat <axis = 1> (r, l)",
        "int64[2] sizes = {3, 5}, int64 zero = {0}, int64 last = {-1}",
    ),
    Case(
        "SplitToSequence in parts of one size",
        "s = SplitToSequence <axis = -3> (c, size)\n l = SequenceAt (s, zero)\n"
        "r = SequenceAt (s, one)\n z = Concat <axis = 1> (r, l)",
        "int64 size = {5}, int64 zero = {0}, int64 one = {1}",
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
        left=5,  # of seven that may go, three and four are as near to half: the fewer go
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
