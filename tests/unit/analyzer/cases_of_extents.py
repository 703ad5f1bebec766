"""Extents and sizes that the graph computes: where channels follow them, and where they stay."""

from __future__ import annotations

from rule_graphs import Case

ROWS = """a = ReduceMax <keepdims = 0> (x)
    i = Cast <to = 7> (a)
    m = Mul (i, none)
    e = Add (m, eight)
    s = Slice (c, none, e, two)
    h = Shape <start = 2, end = 3> (s)
    """
"""``s`` are the first ``h`` rows of ``c``: all eight, but no one can tell before the model runs."""

OWN = "int64[1] none = {0}, int64[1] eight = {8}, int64[1] two = {2}, int64[1] one = {1}"

SHARED = """[other] d = Conv <pads = [1,1,1,1]> (f, d_w)
    n = Shape <end = 1> (x)
    t = Concat <axis = 0> (n, eight, rest)
    p = Reshape (c, t)
    q = Reshape (d, t)
    """
"""Two layers are reshaped to one target, whose ``eight`` is the number of channels of both."""

TARGET = "float[8,6,3,3] d_w, int64[1] eight = {8}, int64[1] rest = {64}"

EXTENTS = [
    Case("Concat of rows, some unknown", ROWS + "z = Concat <axis = 2> (s, c)", OWN),
    Case("Split of unknown rows", ROWS + "l, r = Split <axis = 2> (s)\nz = Add (l, r)", OWN),
    Case("Slice up to an unknown row", ROWS + "z = Slice (s, none, h, two)", OWN),
    Case(
        "Slice of a shape, with steps and without axes",
        "k = Shape (c)\n t = Slice (k, none, four, , one)\n z = Reshape (c, t)",
        "int64[1] none = {0}, int64[1] four = {4}, int64[1] one = {1}",
    ),
    Case(
        "Neg of a shape, twice",
        "k = Shape (c)\n n = Neg (k)\n t = Neg (n)\n z = Reshape (c, t)",
    ),
    Case(
        "the largest of a shape and of small numbers",
        "k = Shape (c)\n t = Max (k, ones)\n z = Reshape (c, t)",
        "int64[4] ones = {1, 1, 1, 1}",
    ),
    Case(
        "the least of a shape and of large numbers",
        "k = Shape (c)\n t = Min (k, many)\n z = Reshape (c, t)",
        "int64[4] many = {64, 64, 64, 64}",
    ),
    Case(
        "the remainder of a number of channels by 1",
        "k = Shape (c)\n m = Mod (k, one)\n t = Add (k, m)\n z = Reshape (c, t)",
        "int64[1] one = {1}",
    ),
    Case(
        "the product of a shape",
        "k = Shape (c)\n s = Slice (k, one, four)\n p = ReduceProd (s)\n"
        "n = Slice (k, none, one)\n t = Concat <axis = 0> (n, p)\n r = Reshape (c, t)\n"
        "z = Reshape (r, image)",
        "int64[1] none = {0}, int64[1] one = {1}, int64[1] four = {4},"
        " int64[4] image = {1, -1, 8, 8}",
    ),
    Case(
        "the root of a square, rounded",
        "k = Shape (c)\n q = Mul (k, k)\n f1 = Cast <to = 1> (q)\n s = Sqrt (f1)\n"
        "u = Ceil (s)\n t = Cast <to = 7> (u)\n z = Reshape (c, t)",
    ),
    Case(
        "a shape of which no extent is -1",
        "k = Shape (c)\n r = Shape (k)\n ones = ConstantOfShape <value = int64[1] {1}> (r)\n"
        "l = Neg (ones)\n e = Equal (k, l)\n t = Where (e, ones, k)\n z = Reshape (c, t)",
    ),
    Case(
        "never fewer channels than now",
        "k = Shape (c)\n t = Max (k, least)\n z = Reshape (c, t)",
        "int64[4] least = {1, 8, 1, 1}",
    ),
    Case(
        "half the channels, rounded down, twice",
        "k = Shape (c)\n h = Div (k, halves)\n t = Mul (h, halves)\n m = Max (t, ones)\n"
        "z = Reshape (c, m)",
        "int64[4] halves = {1, 3, 1, 1}, int64[4] ones = {1, 8, 1, 1}",
    ),
    Case(
        "one target for two layers that are tied",
        SHARED + "v = Add (p, q)\n z = Reshape (v, image)",
        f"{TARGET}, int64[4] image = {{1, -1, 8, 8}}",
        keep=[],
        shapes={"d_w": (4, 3, 3, 3)},
        integers={"eight": [4]},
    ),
    Case(
        "one target for two layers that are not tied",
        SHARED + "v = Concat <axis = 1> (p, q)\n z = Reshape (v, image)",
        f"{TARGET}, int64[4] image = {{1, -1, 8, 8}}",
        n=16,
    ),
]

FIXED = [
    Case(
        "Concat of unknown rows of other channels",
        ROWS + "[other] d = Conv (f, d_w)\n z = Concat <axis = 2> (s, d)",
        f"{OWN}, float[8,6,1,1] d_w",
        reason="Concat.* is not understood",
    ),
    Case(
        "Concat with what has an unknown rank",
        "g = com.microsoft.Trilu (c)\n z = Concat <axis = 1> (c, g)",
        n=16,
        reason="Concat.* is not understood, as the rank of",
    ),
    Case(
        "Slice of channels up to an unknown one",
        ROWS + "z = Slice (c, none, h, one)",
        OWN,
        reason="Slice.* is not understood",
    ),
    Case(
        "Tile of channels, who knows how often",
        ROWS + "g = Gather (h, none)\n t = Concat <axis = 0> (one, g, one, one)\nz = Tile (c, t)",
        OWN,
        n=64,
        reason="Tile.* is not understood",
    ),
    Case(
        "a size at an unknown place of a table",
        ROWS + "g = Gather (table, h)\n t = Concat <axis = 0> (one, g, eight, eight)\n"
        "z = Reshape (c, t)",
        f"{OWN}, int64[9] table = {{0, 1, 2, 3, 4, 5, 6, 7, 8}}",
        reason="Reshape.* is not understood",
    ),
    Case(
        "a size computed from an unknown one",
        ROWS + "g = Add (h, none)\n t = Concat <axis = 0> (one, g, eight, eight)\n"
        "z = Reshape (c, t)",
        OWN,
        reason="Reshape.* is not understood",
    ),
    Case(
        "a shape through an op that computes no sizes",
        "k = Shape (c)\n q = Cast <to = 1> (k)\n r = Relu (q)\n t = Cast <to = 7> (r)\n"
        "z = Reshape (c, t)",
        reason="Reshape.* is not understood",
    ),
    Case(
        "a shape beside more numbers than are followed",
        "k = Shape (c)\n b = Concat <axis = 0> (k, many)\n t = Slice (b, none, four)\n"
        "z = Reshape (c, t)",
        f"int64[1] none = {{0}}, int64[1] four = {{4}}, int64[5000] many = {{{'1, ' * 4999}1}}",
        reason="Reshape.* is not understood",
    ),
    Case(
        "Reshape copies an extent, and channels move to another axis",
        "z = Reshape (c, target)",
        "int64[4] target = {8, 0, 8, 1}",
        reason="copies extent 1, where its result has other channels",
    ),
    Case(
        "a shuffle that is added to what it shuffles",
        "r = Reshape (c, halves)\n t = Transpose <perm = [0,2,1,3]> (r)\n"
        "u = Reshape (t, image)\n z = Add (c, u)",
        "int64[4] halves = {1, 2, 4, 64}, int64[4] image = {1, 8, 8, 8}",
        reason="arranged along several axes",
    ),
]
