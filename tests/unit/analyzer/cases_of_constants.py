"""Text graphs in which constants stand beside channels, and boxes cut maps out of them."""

from __future__ import annotations

from rule_graphs import Case

CONSTANTS = [
    Case(
        "a first state of zeros",
        "s = Concat <axis = 1> (x, h0)\n [step] g = Conv <pads = [1,1,1,1]> (s, k_w)\n"
        "h1 = Tanh (g)\n s1 = Concat <axis = 1> (x, h1)\n"
        "e = Conv <pads = [1,1,1,1]> (s1, k_w)\n h2 = Tanh (e)\n"
        "v = Add (h2, c)\n z = Relu (v)",
        "float[8,11,3,3] k_w, float[1,8,8,8] h0",
        keep=[],
        shapes={"h0": (1, 4, 8, 8), "k_w": (4, 7, 3, 3)},
    ),
    Case(
        "coordinates beside the channels",
        "z = Concat <axis = 1> (k, c)",
        "float[1,2,8,8] k",
        n=10,
        shapes={"k": (1, 2, 8, 8), "head_w": (2, 6, 1, 1)},
    ),
    Case(
        "one more position, a value for each channel",
        "r = Reshape (c, flat)\n t = Concat <axis = 2> (k, r)\n s = Slice (t, one, many, two)\n"
        "m = ReduceMean <axes = [2], keepdims = 1> (t)\n v = Add (s, m)\n z = Reshape (v, image)",
        "float[1,8,1] k, int64[3] flat = {1, 8, 64}, int64[4] image = {1, -1, 8, 8},"
        " int64[1] one = {1}, int64[1] many = {100}, int64[1] two = {2}",
        shapes={"k": (1, 4, 1)},
    ),
    Case(
        "RoiAlign",
        "p = RoiAlign <output_height = 4, output_width = 3> (c, boxes, which)\n"
        "z = ReduceMean <axes = [0], keepdims = 1> (p)",
        "float[2,4] boxes = {0.0, 0.0, 9.0, 9.0, 2.0, 3.0, 12.0, 14.0}, int64[2] which = {0, 0}",
        opset=16,
    ),
    Case(
        "RoiAlign before a Gemm, its boxes made of the image",
        "m = ReduceMax <keepdims = 0> (x)\n b = Mul (boxes, m)\n"
        "p = RoiAlign <output_height = 2, output_width = 2> (c, b, which)\n h = Flatten (p)\n"
        "y = Gemm <transB = 1> (h, fc_w)",
        "float[2,4] boxes = {0.0, 0.0, 2.0, 2.0, 1.0, 1.0, 3.0, 2.5}, int64[2] which = {0, 0},"
        " float[3,32] fc_w",
        opset=16,
        shapes={"fc_w": (3, 16)},
    ),
    Case(
        "the size of everything",
        """s = Size (c)
        k = Div (s, many)
        t = Concat <axis = 0> (one, k, eight, eight)
        z = Reshape (c, t)""",
        "int64[1] one = {1}, int64[1] many = {64}, int64[1] eight = {8}",
    ),
    Case(
        "a product of extents",
        "k = Shape (c)\n n = Gather (k, one)\n h = Gather (k, two)\n m = Mul (n, h)\n"
        "w = Gather (k, three)\n t = Concat <axis = 0> (first, m, w)\n r = Reshape (c, t)\n"
        "v = Tanh (r)\n z = Reshape (v, image)",
        "int64[1] first = {1}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3},"
        " int64[4] image = {1, -1, 8, 8}",
    ),
    Case(
        "a sum of products of extents, divided",
        "k = Shape (c)\n n = Gather (k, one)\n h = Gather (k, two)\n a = Mul (h, n)\n"
        "b = Mul (a, h)\n s = Add (b, b)\n m = Div (s, sixteen)\n"
        "t = Concat <axis = 0> (m, eight)\n r = Reshape (c, t)\n v = Tanh (r)\n"
        "z = Reshape (v, image)",
        "int64[1] one = {1}, int64[1] two = {2}, int64[1] sixteen = {16}, int64[1] eight = {8},"
        " int64[4] image = {1, -1, 8, 8}",
    ),
]
