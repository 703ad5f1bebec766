"""Channels that stay for what they are, for numbers made of them, or where nothing follows them."""

from __future__ import annotations

from lock_row import (
    ADD,
    ADD_W,
    CUBE,
    HALVES,
    IF,
    LOOP,
    MEAN,
    OF_X,
    OTHER,
    PICKED,
    PLACES,
    PRUNE,
    ROUNDS,
    SIDES,
    SIZES,
    TWICE,
    Row,
    eight_bits,
    sparse,
)

import reprune_onnx as rp

ROWS = [
    Row(
        "meets the residual Add 'sum' (--residual keep)",
        ADD,
        ADD,
        ADD_W,
        scope=rp.Scope(residual="keep"),
        twin_scope=PRUNE,
    ),
    Row(
        "not strictly inside a residual branch (--residual inner)",
        "z = Relu (c)",
        "z = Relu (c)",
        scope=rp.Scope(residual="inner"),
        twin_scope=PRUNE,
    ),
    Row(
        "mixes the channels (--norm-statistics lock)",
        "m = ReduceMean <axes = [1]> (c)\n z = Sub (c, m)",
        "m = ReduceMean <axes = [1]> (c)\n z = Sub (c, m)",
        twin_scope=rp.Scope("prune", norm_statistics="kept"),
    ),
    Row(
        "not named by --include",
        "z = Relu (c)",
        "z = Relu (c)",
        scope=rp.Scope("prune", include=("first",)),
        twin_scope=rp.Scope("prune", include=("subject",)),
    ),
    Row(
        "named by --exclude",
        "z = Relu (c)",
        "z = Relu (c)",
        scope=rp.Scope("prune", exclude=("subject",)),
        twin_scope=rp.Scope("prune", exclude=("first",)),
    ),
    Row(
        "the only channel of an activation",
        "l, r = Split <axis = 1> (c, parts)\n z = Concat <axis = 1> (r, l)",
        "l, r = Split <axis = 1> (c, halves)\n z = Concat <axis = 1> (r, l)",
        "int64[2] parts = {1, 7}, int64[2] halves = {4, 4}",
    ),
    Row(
        "all channels of an activation are tied to each other: none could go alone",
        "g = GlobalAveragePool (c)\n h = Transpose <perm = [0,2,1,3]> (g)\n z = Mul (g, h)",
        "g = GlobalAveragePool (c)\n h = Transpose <perm = [0,1,3,2]> (g)\n z = Mul (g, h)",
    ),
    Row(
        "no layer makes these channels",
        "z = Pad (c, pads)",
        "z = Pad (c, none)",
        "int64[8] pads = {0, 1, 0, 0, 0, 0, 0, 0}, int64[8] none = {0, 0, 0, 0, 0, 0, 0, 0}",
        n=9,
        stays=(),
    ),
    Row(
        "the channels of 'r' are arranged along several axes and cannot be cut apart",
        HALVES + "z = Add (c, u)",
        HALVES + "z = Relu (u)",
        SIZES,
    ),
    Row(
        "no group of Conv 'grouped' can go without channels that must stay",
        "[grouped] z = Conv <group = 2, pads = [1,1,1,1]> (c, d_w)\n s = CumSum (z, one)\n"
        "t = CumSum (c, one)\n v = Add (s, t)\n y = Conv (v, d_w)",
        "[grouped] z = Conv <group = 8, pads = [1,1,1,1]> (c, e_w)",
        "float[8,4,3,3] d_w, float[8,1,3,3] e_w, int64 one = {1}",
        stays=("grouped",),
    ),
    Row(
        "reads a computed number that would not follow the channels",
        PLACES
        + "h = Gather <axis = 0> (a, two)\n m = Mul (n, n)\n k = Mul (m, h)\n q = Div (k, many)\n"
        "t = Concat <axis = 0> (one, q, eight, eight)\n"
        "z = Reshape (c, t)",
        PLACES + "t = Concat <axis = 0> (one, n, eight, eight)\n z = Reshape (c, t)",
        "int64[1] one = {1}, int64[1] two = {2}, int64[1] eight = {8}, int64[1] many = {64}",
        opset=8,  # there is no Where yet, by which one number of several is written down
    ),
    Row(
        "reads a number that would change with the channels, and must not",
        PLACES + "h = Gather <axis = 0> (a, two)\n m = Mul (n, h)\n p = ConstantOfShape (m)\n"
        "s = ReduceSum <keepdims = 0> (p)\n z = Add (c, s)",
        PLACES + "p = ConstantOfShape (one)\n s = ReduceSum <keepdims = 0> (p)\n z = Add (c, s)",
        "int64[1] one = {1}, int64[1] two = {2}",
    ),
    Row(
        "reads these channels as places",
        "m = ReduceMax <axes = [2,3], keepdims = 0> (c)\n i = Cast <to = 7> (m)\n" + PICKED,
        "i = Identity (places)\n" + PICKED,
        "int64[8] deep = {1, 1, 1, 1, 1, 1, 1, -1}, int64[1,8] places",
    ),
    Row(
        "reads these channels as a number of elements",
        "m = ReduceMax <keepdims = 0> (c)\n h = Cast <to = 7> (m)\n k = Reshape (h, one)\n"
        "r = Reshape (c, flat)\n v, i = TopK <axis = 2> (r, k)\n s = ReduceSum <keepdims = 0> (v)\n"
        "z = Add (c, s)",
        "z = Identity (c)",
        f"{CUBE}, int64[1] one = {{1}}",
        stays=(),
    ),
    Row(
        "shares a number of 'eight' with a node that counts other channels",
        TWICE + "q = Reshape (d, t)\n v = Concat <axis = 1> (p, q)\n z = Reshape (v, image)",
        TWICE + "v = Concat <axis = 1> (p, p)\n z = Reshape (v, image)",
        "float[8,6,3,3] d_w, int64[1] eight = {8}, int64[1] rest = {64},"
        " int64[4] image = {1, -1, 8, 8}",
        n=16,
        opset=8,  # there is no Where yet, by which one number of several is written down
    ),
    Row(
        "sparse tensor 'k' stays as it is",
        "z = Mul (c, k)",
        "z = Relu (c)",
        "float[8] k",
        stays=(),
        change=sparse,
    ),
    Row(
        "the channels of graph input 'x' stay",
        "z = Relu (c)",
        "z = Relu (c)",
        stays=(),
    ),
    Row("the channels of graph output 'y' stay", "y = Relu (c)", "z = Relu (c)"),
    Row(
        "graph output 'y' is computed from the number of these channels",
        "y = Shape (c)",
        "s = Shape <start = 2> (c)\n y = Identity (s)",
    ),
    Row(
        "Loop 'loop' reads these channels inside its body",
        LOOP.format("b = Add (a, c)") + "\n z = Relu (l)",
        LOOP.format("b = Relu (a)") + "\n z = Relu (c)",
        "float[1,8,8,8] k, int64 three = {3}, bool yes = {1}",
    ),
    Row(
        "Loop 'loop' reads a number of these channels inside its body",
        "s = Shape (c)\n n = Gather <axis = 0> (s, one)\n"
        + LOOP.format("d = Cast <to = 1> (n)\n b = Mul (a, d)")
        + "\n z = Add (l, c)",
        LOOP.format("b = Relu (a)") + "\n z = Relu (c)",
        "float[1,8,8,8] k, int64 three = {3}, bool yes = {1}, int64 one = {1}",
    ),
    Row(
        "If 'either' chooses its branch by these channels",
        "m = ReduceMax <keepdims = 0> (c)\n" + IF.format("d = Neg (c)"),
        OF_X + IF.format("d = Neg (c)"),
        "float zero = {0.0}",
    ),
    Row(
        "the other branch of If 'either' gives what no layer makes",
        OF_X + IF.format("d = Identity (k)"),
        OF_X + IF.format("d = Neg (c)"),
        "float zero = {0.0}, float[1,8,8,8] k",
    ),
    Row(
        "a branch of If 'either' gives a tensor of unknown rank",
        OF_X + IF.format("d = com.microsoft.Trilu (f)"),
        OF_X + IF.format("d = Neg (c)"),
        "float zero = {0.0}",
    ),
    Row(
        "the branches of If 'either' give other shapes (1×8×8×8 and 1×16×8×8)",
        OF_X + IF.format("d = Concat <axis = 1> (c, c)") + "\n y = ReduceMax <keepdims = 0> (z)",
        OF_X + IF.format("d = Neg (c)") + "\n y = Conv (z, k)",
        "float zero = {0.0}, float[4,8,1,1] k",
    ),
    Row(
        "the branch of If 'either' that is not taken gives these channels",
        OTHER + SIDES + IF.format("d = Neg (o)") + "\n y = Conv (z, k)",
        OTHER + SIDES + IF.format("d = Neg (c)") + "\n y = Conv (z, k)",
        "int64 zero = {99}, float[8,6,3,3] o_w, float[4,8,1,1] k",
    ),
    Row(
        "constant 'k' stays as it is",
        "[rows] z = Concat <axis = 2> (x, k)\n y = Conv (z, k_w)",
        "z = Relu (c)",
        "float[1,3,8,8] k, float[2,3,1,1] k_w",
        stays=(),
    ),
    Row(
        "'h' of InstanceNormalization 'norm' is not a constant",
        MEAN + "[norm] z = InstanceNormalization (c, h, k)",
        "[norm] z = InstanceNormalization (c, k, k)",
        "float[8] k",
    ),
    Row(
        "'k' of Conv 'biased' is of type FLOAT8E4M3FN, which is not cut",
        "[biased] z = Conv (f, k_w, k)",
        "[biased] z = Conv (f, k_w)",
        "float[8] k, float[8,6,1,1] k_w",
        stays=("biased",),
        change=eight_bits,
    ),
    Row(
        "Conv 'along' works across the channels",
        "g = GlobalAveragePool (c)\n t = Transpose <perm = [0,2,1,3]> (g)\n"
        "[along] y = Conv <pads = [1,0,1,0]> (t, k_w)",
        "[along] y = Conv <pads = [1,0,1,0]> (c, l_w)",
        "float[1,1,3,1] k_w, float[4,8,3,1] l_w",
    ),
    Row(
        "the channels of an output of CumSum 'sums' cannot be followed",
        "[sums] z = CumSum (c, one)",
        "z = Relu (c)",
        "int64 one = {1}",
        stays=(),
    ),
    Row(
        "Resize 'wider' is not understood with these inputs and attributes",
        "[wider] z = Resize (c, , wider)",
        "[wider] w = Resize (c, , larger)\n z = Concat <axis = 1> (w, w)",
        "float[4] wider = {1.0, 2.0, 1.0, 1.0}, float[4] larger = {1.0, 1.0, 2.0, 2.0}",
        n=16,
    ),
    Row(
        "Concat 'joined' is not understood, as the rank of 'g' is not known",
        "g = com.microsoft.Trilu (f)\n [joined] z = Concat <axis = 1> (c, g)",
        "g = Relu (f)\n [joined] z = Concat <axis = 1> (c, g)",
        n=14,
    ),
    Row(
        "Pad 'padded' belongs to the custom domain 'com.microsoft'",
        "[padded] z = com.microsoft.Pad (c, pads)",
        "[padded] z = Pad (c, pads)",
        "int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}",
    ),
    Row(
        "no rule for op CumSum 'sums'",
        "[sums] z = CumSum (c, one)",
        "z = Relu (c)",
        "int64 one = {1}",
    ),
    Row(
        "Loop 'loop' is not written out, which takes a number of rounds that the file fixes, and at"
        " most 4,096 nodes",
        OF_X + "k = Cast <to = 7> (m)\n" + ROUNDS.format("k"),
        ROUNDS.format("three"),
        "float[8,8,1,1] d_w, int64 three = {3}",
    ),
]
