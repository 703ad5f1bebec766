"""Text graphs of ops that read or write at places: R-CNN's levels, warps, masks, the best few."""

from __future__ import annotations

from rule_graphs import Case


def zeros(*shape: int) -> str:
    """The declaration of integers that are all 0, without their name."""
    n = 1
    for extent in shape:
        n *= extent
    return f"int64[{','.join(map(str, shape))}] i = {{{', '.join('0' * n)}}}"


LAST = "t = Transpose <perm = [0,2,3,1]> (c)\n"
ROWS = "g1 = Transpose <perm = [1,0]> (g)\n z = Unsqueeze (g1, axes)"
AXES = "int64[2] axes = {0, 3}"
FLAT = "r = Reshape (c, flat)\n"
SIZES = "int64[3] flat = {1, 8, 64}, int64[1] k = {5}, int64[1] three = {3}"
SHAPE = "k = Shape (c)\n"
LEVELS = (
    "b = RoiAlign <output_height = 8, output_width = 8> (c, boxes, which)\n"
    "[other] o = Conv (f, o_w)\n"
    "d = RoiAlign <output_height = 8, output_width = 8> (o, boxes, which)\n"
    "a = Shape (boxes)\n a1 = Slice (a, none, one)\n two = Add (a1, a1)\n"
    "k = Shape (b)\n n = Slice (k, one, four)\n s = Concat <axis = 0> (two, n)\n"
    "blank = ConstantOfShape (s)\n"
    "k1 = Concat <axis = 0> (a1, n)\n rank = Shape (k1)\n"
    "ones = ConstantOfShape <value = int64[1] {1}> (rank)\n less = Mul (ones, minus)\n"
    "e = Equal (k1, less)\n w = Where (e, ones, k1)\n"
    "p = Expand (first, w)\n q = Expand (second, w)\n"
    "fine = ScatterElements <axis = 0> (blank, p, b)\n"
    "z = ScatterElements <axis = 0> (fine, q, d)"
)

INDEXING = [
    Case(
        "GatherND of positions",
        LAST + "g = GatherND (t, i)\n" + ROWS,
        f"{AXES}, int64[2,3] i = {{0, 1, 2, 0, 3, 4}}",
    ),
    Case(
        "GatherND where the image is bright",
        LAST + "m = ReduceMean <axes = [1], keepdims = 0> (x)\n b = Greater (m, zero)\n"
        "n = NonZero (b)\n p = Transpose (n)\n g = GatherND (t, p)\n" + ROWS,
        f"{AXES}, float zero = {{0.0}}",
    ),
    Case(
        "GatherND in every image of a batch",
        "t = Transpose <perm = [0,3,2,1]> (c)\n g0 = GatherND <batch_dims = 1> (t, i)\n"
        "g = Squeeze (g0, none)\n" + ROWS,
        f"{AXES}, int64[1,3,2] i = {{0, 1, 2, 3, 4, 5}}, int64[1] none = {{0}}",
        since="1.23",  # before, with symbolic sizes, the rank behind it was not inferred
    ),
    Case(
        "ScatterND of another layer's channels",
        "[other] o = Conv (f, o_w)\n p = GlobalAveragePool (o)\n u = Reshape (p, row)\n"
        "t = Transpose <perm = [2,3,0,1]> (c)\n s = ScatterND (t, i, u)\n"
        "z = Transpose <perm = [2,3,0,1]> (s)",
        "float[8,6,1,1] o_w, int64[1,2] i = {3, 4}, int64[3] row = {1, 1, -1}",
        keep=[],
        shapes={"o_w": (4, 3, 1, 1)},
    ),
    Case(
        "ScatterND of constants",
        "t = Transpose <perm = [2,3,0,1]> (c)\n s = ScatterND (t, i, u)\n"
        "z = Transpose <perm = [2,3,0,1]> (s)",
        "int64[2,2] i = {3, 4, 0, 7}, float[2,1,8] u",
        shapes={"u": (2, 1, 4)},
    ),
    Case(
        "ScatterElements of constants",
        "z = ScatterElements <axis = 2> (c, i, u)",
        f"{zeros(1, 8, 1, 8)}, float[1,8,1,8] u",
        shapes={"i": (1, 4, 1, 8), "u": (1, 4, 1, 8)},
    ),
    Case(
        "Scatter as before opset 11",
        "z = Scatter <axis = 2> (c, i, u)",
        f"{zeros(1, 8, 1, 8)}, float[1,8,1,8] u",
        opset=10,
        shapes={"i": (1, 4, 1, 8), "u": (1, 4, 1, 8)},
    ),
    Case(
        "maps of two levels in one tensor, as torchvision pools regions",
        LEVELS,
        "float[8,6,1,1] o_w, float[2,4] boxes = {0.0, 0.0, 6.0, 6.0, 1.0, 2.0, 5.0, 7.0},"
        " int64[2] which = {0, 0}, int64[1] none = {0}, int64[1] one = {1}, int64[1] four = {4},"
        " int64 minus = {-1}, int64[2,1,1,1] first = {0, 2}, int64[2,1,1,1] second = {1, 3}",
        keep=[],
        shapes={"o_w": (4, 3, 1, 1)},
    ),
    Case(
        "GatherElements with constants",
        "z = GatherElements <axis = 3> (c, i)",
        zeros(1, 8, 8, 2),
        shapes={"i": (1, 4, 8, 2)},
    ),
    Case(
        "the best positions of each channel, and where they are",
        FLAT + "v, i = TopK <axis = 2> (r, k)\n g = GatherElements <axis = 2> (r, i)\n"
        "s = Sum (v, g)\n z = Unsqueeze (s, three)",
        SIZES,
    ),
    Case(
        "the best positions of each channel",
        FLAT + "v, i = TopK <axis = 2> (r, k)\n z = Unsqueeze (v, three)",
        SIZES,
    ),
    Case(
        "a layer that reads a number in the image's shape",
        SHAPE + "s = ConstantOfShape <value = float[1] {0.5}> (k)\n [other] d = Conv (s, d_w)\n"
        "z = Concat <axis = 1> (c, d)",
        "float[8,8,1,1] d_w",
        n=16,
        shapes={"d_w": (4, 4, 1, 1)},
    ),
    Case(
        "GridSample with a constant grid",
        "z = GridSample (c, g)",
        "float[1,5,4,2] g",
    ),
    Case(
        "GridSample where the image says",
        "a = ReduceMean <axes = [1], keepdims = 0> (x)\n g0 = Tanh (a)\n"
        "g1 = Unsqueeze (g0, three)\n g = Concat <axis = 3> (g1, g1)\n z = GridSample (c, g)",
        "int64[1] three = {3}",
    ),
    Case("zeros of the image's shape", SHAPE + "s = ConstantOfShape (k)\n z = Add (c, s)"),
    Case(
        "rows of zeros above the image",
        SHAPE + "s = ConstantOfShape (k)\n z = Concat <axis = 2> (s, c)",
    ),
    Case(
        "a number in the image's shape",
        SHAPE + "e = Expand (half, k)\n z = Mul (c, e)",
        "float half = {0.5}",
    ),
    Case(
        "a number for each channel in the image's shape",
        SHAPE + "e = Expand (v, k)\n z = Mul (c, e)",
        "float[8,1,1] v",
        shapes={"v": (4, 1, 1)},
    ),
    Case(
        "a map in the image's shape",
        SHAPE + "a = ReduceMean <axes = [1]> (x)\n e = Expand (a, k)\n z = Mul (c, e)",
    ),
]

ADDRESSED = [
    Case(
        "GatherND of channels",
        "g = GatherND (c, i)\n z = Unsqueeze (g, none)",
        "int64[3,2] i = {0, 1, 0, 2, 0, 5}, int64[1] none = {0}",
        n=3,
        reason="GatherND.* is not understood",
    ),
    Case(
        "ScatterND into channels",
        "z = ScatterND (c, i, u)",
        "int64[1,2] i = {0, 3}, float[1,8,8] u",
        reason="ScatterND.* is not understood",
    ),
    Case(
        "ScatterElements into channels",
        "z = ScatterElements <axis = 1> (c, i, u)",
        f"{zeros(1, 1, 8, 8)}, float[1,1,8,8] u",
        reason="ScatterElements.* is not understood",
    ),
    Case(
        "ScatterElements into the first channels",
        "z = ScatterElements <axis = 2> (c, i, u)",
        f"{zeros(1, 3, 1, 8)}, float[1,3,1,8] u",
        reason="ScatterElements.* is not understood",
    ),
    Case(
        "GatherElements of channels",
        "z = GatherElements <axis = 1> (c, i)",
        zeros(1, 2, 8, 8),
        n=2,
        reason="GatherElements.* is not understood",
    ),
    Case(
        "the best channels",
        "z, i = TopK <axis = 1> (c, k)",
        "int64[1] k = {4}",
        n=4,
        reason="TopK.* mixes the channels",
    ),
]
