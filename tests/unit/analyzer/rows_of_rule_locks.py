"""Channels that stay for what the rule of an op says of them."""

from __future__ import annotations

from lock_row import (
    CHOICE,
    CHOICE_OF_X,
    CUBE,
    INTO,
    KERNEL,
    LSTM,
    MEAN,
    NUMBERS,
    OF_LSTM,
    POSITIONS,
    ROWS_OF_C,
    ROWS_OF_X,
    ZEROS,
    Row,
)

ROWS = [
    Row(
        "Clip 'clip' reads these channels as a parameter",
        MEAN + "s = Gather <axis = 0> (h, none)\n [clip] z = Clip (c, s)",
        MEAN + "s = Gather <axis = 0> (h, none)\n [clip] z = Clip (c)\n",
        "int64 none = {0}",
    ),
    Row(
        "LayerNormalization 'norm' reads these channels as a parameter",
        MEAN + "[norm] z = LayerNormalization <axis = -1> (c, h)",
        MEAN + "[norm] z = LayerNormalization <axis = -1> (c, k)",
        "float[8] k",
    ),
    Row(
        "ImageScaler 'scaler' has one bias per channel in an attribute, which is not cut",
        "[scaler] z = ImageScaler <scale = 2.0, bias = [1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0]> (c)",
        "z = Relu (c)",
        opset=7,
    ),
    Row(
        "Mul 'gate' spreads this one channel over all channels of another input",
        "[one] o = Conv (f, o_w)\n [gate] z = Mul (c, o)",
        "[one] o = Conv (f, p_w)\n [gate] z = Mul (c, o)",
        "float[1,6,1,1] o_w, float[8,6,1,1] p_w",
        stays=("one",),
    ),
    Row(
        "FusedConv 'fused' adds 'k', which is a constant or of another rank",
        "[fused] z = com.microsoft.FusedConv (f, d_w, d_b, k)",
        "[d] d = Conv (f, d_w)\n [fused] z = com.microsoft.FusedConv (f, d_w, d_b, d)",
        "float[8,6,1,1] d_w, float[8] d_b, float[1,8,8,8] k",
        stays=("fused",),
    ),
    Row(
        "Gemm 'product' has channels along another axis than the one it sums over",
        "g = Reshape (c, matrix)\n [product] m = Gemm (g, k)\n z = Reshape (m, image)",
        "g = Reshape (c, matrix)\n t = Transpose (g)\n [product] m = Gemm (t, d)\n"
        "z = Reshape (m, image)",
        "int64[2] matrix = {8, 64}, float[64,64] k, float[8,8] d, int64[4] image = {1, 8, 8, 8}",
    ),
    Row(
        "MatMul 'product' multiplies activations with each other",
        ROWS_OF_C + "[product] m = MatMul (r, t)\n u = Unsqueeze (m, one)\n"
        "z = Transpose <perm = [0,2,1,3]> (u)",
        ROWS_OF_C + "[product] m = MatMul (k, t)\n u = Transpose <perm = [0,2,1]> (m)\n"
        "z = Reshape (u, image)",
        f"{CUBE}, int64[1] one = {{1}}, float[1,64,64] k, int64[4] image = {{1, 8, 8, 8}}",
    ),
    Row(
        "Attention 'heads' loses heads of queries alone: each head of its keys serves several",
        ROWS_OF_C + "[q] q = MatMul (t, q_w)\n"
        "[heads] a = Attention <q_num_heads = 8, kv_num_heads = 2> (q, t, t)\n y = MatMul (a, o_w)",
        ROWS_OF_C + "[q] q = MatMul (t, p_w)\n"
        "[heads] a = Attention <q_num_heads = 2, kv_num_heads = 2> (q, t, t)\n y = MatMul (a, k_w)",
        f"{CUBE}, float[8,32] q_w, float[8,8] p_w, float[32,2] o_w, float[8,2] k_w",
        opset=23,
    ),
    Row(
        "Softmax 'soft' mixes the channels",
        "[soft] z = Softmax <axis = 1> (c)",
        "[soft] z = Softmax <axis = 2> (c)",
    ),
    Row(
        "MaxPool 'pool' outputs indices that count through the channels",
        "[pool] z, i = MaxPool <kernel_shape = [2,2]> (c)",
        "[pool] z = MaxPool <kernel_shape = [2,2]> (c)",
    ),
    Row(
        "RoiAlign 'align' reads these channels as boxes",
        MEAN + "b = Reshape (h, boxes)\n [align] z = RoiAlign (c, b, i)",
        MEAN + "[align] z = RoiAlign (c, b, i)",
        "int64[2] boxes = {2, 4}, int64[2] i = {0, 0}, float[2,4] b",
    ),
    Row(
        "MatMul 'product' sums over the channels, with no weight that could be cut",
        POSITIONS + "[product] m = MatMul (h, q)\n z = Reshape (m, image)",
        POSITIONS + "[product] m = MatMul (h, k)\n z = Reshape (m, image)",
        "float[1,6,1,1] o_w, int64[3] row = {1, 1, 8}, int64[3] flat = {1, 8, 8},"
        " int64[4] image = {1, 1, 8, 1}, float[1,8,8] k",
        n=1,
    ),
    Row(
        "Conv 'match' has a kernel whose channels cannot be matched with its input's",
        "[other] d = Conv (f, d_w)\n t = Transpose <perm = [1,0,2,3]> (d)\n" + KERNEL,
        "t = Conv (f, o_w)\n" + KERNEL,
        "float[8,6,1,1] d_w, float[1,6,1,1] o_w",
    ),
    Row(
        "Einsum 'swap' has an equation that is not followed",
        '[swap] e = Einsum <equation = "bchw->bhcw"> (c)\n z = Transpose <perm = [0,2,1,3]> (e)',
        "[swap] e = Transpose <perm = [0,2,1,3]> (c)\n z = Transpose <perm = [0,2,1,3]> (e)",
    ),
    Row(
        "MatMul 'product' multiplies these channels with numbers that are computed from sizes",
        "p = Shape (c)\n q = Concat <axis = 0> (p, p)\n v = Cast <to = 1> (q)\n"
        "[product] m = MatMul (c, v)\n z = Unsqueeze (m, three)",
        "[product] m = MatMul (c, k)\n z = Unsqueeze (m, three)",
        "float[8] k, int64[1] three = {3}",
    ),
    Row(
        "MatMul 'product' multiplies these channels with a constant whose shape does not fit"
        " the file",
        "[product] z = MatMul (c, k)",
        "[product] z = MatMul (c, l)",
        "float[1,8,7,5] k, float[1,8,8,5] l",
    ),
    Row(
        "MatMul 'product' mixes channels",
        ROWS_OF_C + "[product] m = MatMul (t, r)\n u = Unsqueeze (m, one)\n [y] y = Relu (u)",
        "y = Conv (c, c_w2)",
        f"{CUBE}, int64[1] one = {{1}}, float[4,8,1,1] c_w2",
        stays=(),
    ),
    Row(
        "the first state 'h0' of LSTM 'lstm' is computed from sizes",
        INTO + NUMBERS + LSTM.format("h0"),
        INTO + LSTM.format("k"),
        OF_LSTM,
        stays=("lstm",),
    ),
    Row(
        "ConstantOfShape 'zeros' makes a first state that is not known to end in 3",
        INTO + ROWS_OF_X + ZEROS + LSTM.format("h0"),
        INTO + "u = Identity (three)\n" + ZEROS + LSTM.format("h0"),
        OF_LSTM + ", int64[1] two = {2}, int64[1] three = {3}",
        stays=("lstm",),
    ),
    Row(
        "Reshape 'copy' copies extent 1, where its result has other channels",
        "[copy] z = Reshape (c, moved)",
        "[copy] z = Reshape (c, same)",
        "int64[4] moved = {8, 0, 8, 1}, int64[4] same = {1, 0, 8, 8}",
    ),
    Row(
        "Slice 'part' reads these channels as a bound",
        MEAN + CHOICE + "[part] z = Slice (c, s, e)",
        CHOICE_OF_X + "[part] z = Slice (c, s, e)",
        "int64[1] zero = {0}, int64[1] one = {1}, int64[1] e = {9}",
    ),
    Row(
        "Slice 'part' takes channels in steps of 2",
        "[part] z = Slice (c, s, e, one, two)",
        "[part] w = Slice (c, s, four, one, one)\n z = Relu (w)",
        "int64[1] s = {0}, int64[1] e = {8}, int64[1] one = {1}, int64[1] two = {2},"
        " int64[1] four = {4}",
        n=4,
    ),
    Row(
        "Gather 'places' reads these channels as indices",
        MEAN + CHOICE + "[places] z = Gather <axis = 2> (c, s)",
        CHOICE_OF_X + "[places] z = Gather <axis = 2> (c, s)",
        "int64[1] zero = {0}, int64[1] one = {1}",
    ),
    Row(
        "Gather 'third' picks this very channel",
        "[third] g = Gather <axis = 1> (c, two)\n z = Unsqueeze (g, one)",
        "[third] z = Gather <axis = 1> (c, same)",
        "int64 two = {2}, int64[1] same = {2}, int64[1] one = {1}",
        n=1,
    ),
]
