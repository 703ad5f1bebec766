"""For every sentence by which channels stay: a network that prints it, and a twin that does not.

The twin differs in what the sentence gives as its cause; there the same channels can go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx

import reprune_onnx as rp

PRUNE = rp.Scope(residual="prune")


@dataclass(frozen=True)
class Row:
    """``says`` is the sentence; ``body`` makes ``z``, or ``y``, of ``c`` (1, 8, 8, 8).

    ``stays`` are the layers whose channels it holds, none where it is said of what is no layer's.
    ``change`` does to the network what text cannot.
    """

    says: str
    body: str
    twin: str
    weights: str = ""
    n: int = 8
    opset: int = 17
    stays: tuple[str, ...] = ("subject",)
    scope: rp.Scope = PRUNE
    twin_scope: rp.Scope | None = None
    change: Callable[[onnx.ModelProto], object] | None = field(default=None)


def eight_bits(proto: onnx.ModelProto) -> None:
    """A bias in a type whose values are not whole bytes that numpy knows."""
    tensor = next(t for t in proto.graph.initializer if t.name == "k")
    values = onnx.helper.make_tensor("k", onnx.TensorProto.FLOAT8E4M3FN, tensor.dims, [1.0] * 8)
    tensor.CopyFrom(values)


def sparse(proto: onnx.ModelProto) -> None:
    dense = next(t for t in proto.graph.initializer if t.name == "k")
    proto.graph.initializer.remove(dense)
    n = dense.dims[0]
    tensor = proto.graph.sparse_initializer.add(dims=(2**40, n))
    tensor.values.CopyFrom(onnx.helper.make_tensor("k", onnx.TensorProto.FLOAT, [n], [1.0] * n))
    tensor.indices.CopyFrom(
        onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [n], list(range(n)))
    )


ADD = "[d] d = Conv <pads = [1,1,1,1]> (c, d_w)\n [sum] z = Add (c, d)"
ADD_W = "float[8,8,3,3] d_w"
HALVES = "r = Reshape (c, halves)\n t = Transpose <perm = [0,2,1,3]> (r)\n u = Reshape (t, image)\n"
SIZES = "int64[4] halves = {1, 2, 4, 64}, int64[4] image = {1, 8, 8, 8}"
MEAN = "h = ReduceMean <axes = [0,2,3], keepdims = 0> (c)\n"
PLACES = "a = Shape (c)\n n = Gather <axis = 0> (a, one)\n"
ROWS_OF_C = "r = Reshape (c, flat)\n t = Transpose <perm = [0,2,1]> (r)\n"
PICKED = "t = Reshape (x, deep)\n g = GatherND (t, i)\n s = ReduceSum <keepdims = 0> (g)\n"
PICKED += "z = Add (c, s)"
CUBE = "int64[3] flat = {1, 8, 64}"
TARGET = "int64[4] target = {1, -1, 8, 8}, int64[1] one = {1}, int64[1] zero = {0}"
INTO = "i = ReduceMean <axes = [2], keepdims = 0> (c)\n t = Transpose <perm = [2,0,1]> (i)\n"
LSTM = "[lstm] o = LSTM <hidden_size = 3> (t, W, R, , , {})\n q = Squeeze (o, one)\n"
LSTM += "y = MatMul (q, V)"
OF_LSTM = "float[1,12,8] W, float[1,12,3] R, float[3,2] V, float[1,1,3] k, int64[1] one = {1}"
ROWS_OF_X = "g = ReduceMax <keepdims = 0> (x)\n b = Cast <to = 7> (g)\n m = Add (b, one)\n"
ROWS_OF_X += "e = Slice (x, none, m, one)\n u = Shape <start = 1, end = 2> (e)\n"
ZEROS = "w = Concat <axis = 0> (one, one, u)\n [zeros] h0 = ConstantOfShape (w)\n"
OF_LSTM += ", int64[1] none = {0}"
NUMBERS = "p = Shape <start = 1> (x)\n d = Cast <to = 1> (p)\n h0 = Reshape (d, state)\n"
OF_LSTM += ", int64[3] state = {1, 1, 3}"
CHOICE = "m = ArgMax <axis = 0> (h)\n j = Mul (m, zero)\n s = Add (j, zero)\n"
CHOICE_OF_X = "m = ReduceMax (x)\n n = Reshape (m, one)\n j = Cast <to = 7> (n)\n"
CHOICE_OF_X += "s = Mul (j, zero)\n"

TWICE = "[other] d = Conv <pads = [1,1,1,1]> (f, d_w)\n n = Shape <end = 1> (x)\n"
TWICE += "t = Concat <axis = 0> (n, eight, rest)\n p = Reshape (c, t)\n"

POSITIONS = "g = GlobalAveragePool (c)\n h = Reshape (g, row)\n o = Conv (f, o_w)\n"
POSITIONS += "q = Reshape (o, flat)\n"
KERNEL = "g = GlobalAveragePool (c)\n u = Transpose <perm = [1,0,2,3]> (g)\n"
KERNEL += "[match] m = Conv (t, u)\n z = ReduceMean <axes = [0]> (m)"

LOOP = "[loop] l = Loop (three, yes, k) <body = more (int64 i, bool on, float[1,8,8,8] a) =>"
LOOP += " (bool still, float[1,8,8,8] b) {{ still = Identity (on)\n {} }}>"
OF_X = "m = ReduceMax <keepdims = 0> (x)\n"
IF = "q = Greater (m, zero)\n[either] z = If (q) <then_branch = yes () => (float[1,8,8,8] a)"
IF += " {{ a = Relu (c) }}, else_branch = no () => (float[] d) {{ {} }}>"

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
    ),
    Row(
        "reads a number that would change with the channels, and must not",
        PLACES + "m = Mul (n, n)\n p = ConstantOfShape (m)\n s = ReduceSum <keepdims = 0> (p)\n"
        "z = Add (c, s)",
        PLACES + "p = ConstantOfShape (one)\n s = ReduceSum <keepdims = 0> (p)\n z = Add (c, s)",
        "int64[1] one = {1}",
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
    ),
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
    Row(
        "sparse tensor 'k' stays as it is",
        "z = Mul (c, k)",
        "z = Relu (c)",
        "float[8] k",
        stays=(),
        change=sparse,
    ),
    Row(
        "the channels of a graph input stay",
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
]
