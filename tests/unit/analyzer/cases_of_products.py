"""Text graphs of products that are no layers: channels pass, are tied, or are summed."""

from __future__ import annotations

from rule_graphs import Case

ROWS = "r = Reshape (c, flat)\n"
IMAGE = "z = Reshape (m, image)"
SIZES = "int64[3] flat = {1, 8, 64}, int64[4] image = {1, -1, 8, 8}"
MAP = "q = Conv (c, q_w)\n s = Reshape (q, column)\n a = Softmax <axis = 1> (s)\n"
COLUMN = "float[1,8,1,1] q_w, int64[3] column = {1, 64, 1}"
ATTENTION = (
    ROWS
    + "[other] k = Conv (c, k_w)\n k1 = Reshape (k, keys)\n k2 = Transpose <perm = [0,2,1]> (k1)"
    "\n [another] q = Conv (c, q_w)\n q1 = Reshape (q, keys)\n l = MatMul (k2, q1)\n"
    "a = Softmax <axis = 1> (l)\n m = MatMul (r, a)\n"
)

PRODUCTS = [
    Case(
        "MatMul of channels with a map of positions",
        ROWS + MAP + "m = MatMul (r, a)\n p = Reshape (m, one)\n z = Add (c, p)",
        f"{SIZES}, {COLUMN}, int64[4] one = {{1, 8, 1, 1}}",
        shapes={"q_w": (1, 4, 1, 1)},
        integers={"flat": [1, 4, 64], "one": [1, 4, 1, 1]},
    ),
    Case(
        "MatMul of a map of positions with channels last",
        ROWS + "t = Transpose <perm = [0,2,1]> (r)\n" + MAP + "b = Transpose <perm = [0,2,1]> (a)\n"
        "m = MatMul (b, t)\n u = Transpose <perm = [0,2,1]> (m)\n p = Reshape (u, one)\n"
        "z = Mul (c, p)",
        f"{SIZES}, {COLUMN}, int64[4] one = {{1, -1, 1, 1}}",
    ),
    Case(
        "attention whose values are the channels",
        ATTENTION + IMAGE,
        f"{SIZES}, float[4,8,1,1] k_w, float[4,8,1,1] q_w, int64[3] keys = {{1, 4, 64}}",
        shapes={"k_w": (2, 4, 1, 1), "q_w": (2, 4, 1, 1)},
        integers={"keys": [1, 2, 64]},
    ),
    Case(
        "two heads of attention: each stays or goes whole",
        "[q] q = Conv (c, q_w)\n [k] k = Conv (c, k_w)\n [v] v = Conv (c, v_w)\n"
        "q1 = Reshape (q, heads)\n k1 = Reshape (k, heads)\n v1 = Reshape (v, heads)\n"
        "q2 = Transpose <perm = [0,1,3,2]> (q1)\n l = MatMul (q2, k1)\n"
        "a = Softmax <axis = 3> (l)\n at = Transpose <perm = [0,1,3,2]> (a)\n"
        "m = MatMul (v1, at)\n" + IMAGE,
        "float[12,8,1,1] q_w, float[12,8,1,1] k_w, float[12,8,1,1] v_w,"
        "int64[4] heads = {1, 4, 3, 64}, int64[4] image = {1, 12, 8, 8}",
        n=12,
        shapes={"q_w": (6, 4, 1, 1), "k_w": (6, 4, 1, 1), "v_w": (6, 4, 1, 1)},
        integers={"heads": [1, 2, 3, 64], "image": [1, 6, 8, 8]},
    ),
    Case(
        "MatMul of each channel's rows with its columns",
        "t = Transpose <perm = [0,1,3,2]> (c)\n m = MatMul (c, t)\n z = Mul (m, small)",
        "float small = {0.1}",
    ),
    Case(
        "MatMul of positions with a constant",
        ROWS + "m = MatMul (r, w)\n" + IMAGE,
        f"{SIZES}, float[64,64] w",
        shapes={"w": (64, 64)},
    ),
    Case(
        "MatMul of a constant with positions",
        ROWS + "t = Transpose <perm = [0,2,1]> (r)\n m = MatMul (w, t)\n"
        "u = Transpose <perm = [0,2,1]> (m)\n z = Reshape (u, image)",
        f"{SIZES}, float[64,64] w",
        shapes={"w": (64, 64)},
    ),
    Case(
        "MatMul of a constant with the channels",
        ROWS + "m = MatMul (w, r)\n" + IMAGE,
        f"{SIZES}, float[6,8] w",
        n=6,
        shapes={"w": (6, 4)},
    ),
    Case(
        "MatMul with one matrix per channel",
        "z = MatMul (c, w)",
        "float[8,8,8] w",
        shapes={"w": (4, 8, 8)},
    ),
    Case(
        "Einsum of channels with a vector",
        'e = Einsum <equation = "bchw,c->bhw"> (c, v)\n z = Unsqueeze (e, one)',
        "float[8] v, int64[1] one = {1}",
        n=1,
        shapes={"v": (4,)},
    ),
    Case(
        "Einsum of two activations over positions",
        "[map] q = Conv (c, q_w)\n"
        'm = Einsum <equation = "bchw,bdhw->bcd"> (c, q)\n z = Unsqueeze (m, three)',
        "int64[1] three = {3}, float[1,8,1,1] q_w",
    ),
    Case(
        "Gemm of activations",
        "[map] o = Conv (c, q_w)\n"
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n q = GlobalAveragePool (o)\n"
        "p = Flatten (q)\n m = Gemm <transA = 1> (h, p)\n t = Unsqueeze (m, two)\n"
        "z = Unsqueeze (t, none)",
        "int64[1] two = {2}, int64[1] none = {0}, float[1,8,1,1] q_w",
    ),
    Case(
        "attention with one head: its keys and queries go together",
        "[q] q = Conv (f, q_w)\n r = Reshape (c, flat)\n q1 = Reshape (q, flat)\n"
        "t = Transpose <perm = [0,2,1]> (r)\n l = MatMul (t, q1)\n u = Unsqueeze (l, one)\n"
        "z = Transpose <perm = [0,2,1,3]> (u)",
        "float[8,6,1,1] q_w, int64[3] flat = {1, 8, 64}, int64[1] one = {1}",
        n=64,
        keep=[],
        shapes={"q_w": (4, 3, 1, 1)},
        integers={"flat": [1, 4, 64]},
    ),
    Case(
        "squares of channels in one sum",
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n t = Transpose <perm = [1,0]> (h)\n"
        "y = Gemm (h, t)",
    ),
]

SUMMED = [
    Case(
        "channels times positions that are as many",
        "g = GlobalAveragePool (c)\n h = Reshape (g, row)\n o = Conv (f, o_w)\n"
        "q = Reshape (o, flat)\n m = MatMul (h, q)\n"
        "z = Reshape (m, image)",
        "float[1,6,1,1] o_w, int64[3] row = {1, 1, 8}, int64[3] flat = {1, 8, 8},"
        " int64[4] image = {1, 1, 8, 1}",
        n=1,
        reason="MatMul.* sums over the channels",
    ),
    Case(
        "Gemm of activations that adds a third",
        "g = GlobalAveragePool (c)\n h = Flatten (g)\n t = Transpose <perm = [1,0]> (h)\n"
        "[map] o = Conv (c, o_w)\n p = GlobalAveragePool (o)\n q = Flatten (p)\n"
        "y = Gemm (h, t, q)",
        "float[1,8,1,1] o_w",
        reason="Gemm.* multiplies activations|Gemm.* is not understood",
    ),
]
