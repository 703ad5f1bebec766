"""Every op of the table in a text graph: where channels can go, and where they are locked."""

from __future__ import annotations

from cases_of_attention import ATTENTION
from cases_of_constants import CONSTANTS
from cases_of_correlation import CORRELATION, UNMATCHED
from cases_of_extents import EXTENTS, FIXED
from cases_of_fused_ops import FUSED, MIXED
from cases_of_indexing import ADDRESSED, INDEXING
from cases_of_layers import LAYERS
from cases_of_older_opsets import OLDER, OLDER_FIXED
from cases_of_products import PRODUCTS, SUMMED
from cases_of_recurrent_layers import RECURRENT
from cases_of_shapes import PARTS, SHAPES
from cases_of_unknowns import UNKNOWN
from cases_of_values import ELEMENTWISE, IMAGE, MORE, NORMALIZATION, REDUCTION, RETIRED, WINDOWS
from rule_graphs import Case

BRANCHES = [
    Case(
        "both branches of an If",
        "m = ReduceMax <keepdims = 0> (x)\n q = Greater (m, zero)\n"
        "z = If (q) <then_branch = yes () => (float[1,8,8,8] a) { a = Relu (c) },"
        " else_branch = no () => (float[1,8,8,8] b) { b = Neg (c) }>",
        "float zero = {0.0}",
    ),
    Case(
        "an If within an If",
        "m = ReduceMax <keepdims = 0> (x)\n q = Greater (m, zero)\n r = Greater (m, one)\n"
        "z = If (q) <then_branch = yes () => (float[1,n,8,8] a) { a = If (r) <"
        "then_branch = more () => (float[1,n,8,8] d) { d = Relu (c) },"
        " else_branch = less () => (float[1,n,8,8] e) { e = Mul (c, k) }> },"
        " else_branch = no () => (float[1,n,8,8] b) { b = Identity (c) }>",
        "float zero = {0.0}, float one = {1.0}, float[8,1,1] k",
    ),
]

FREE = ELEMENTWISE + NORMALIZATION + WINDOWS + REDUCTION + SHAPES + PARTS + LAYERS + MORE + RETIRED
FREE += [IMAGE, *EXTENTS, *RECURRENT, *FUSED, *PRODUCTS, *CONSTANTS, *CORRELATION, *INDEXING]
FREE += [case for case, _ in OLDER]
FREE += ATTENTION + BRANCHES

LOCKED = [
    Case(
        "ImageScaler of channels",
        "z = ImageScaler <scale = 2.0, bias = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]> (c)",
        opset=7,
        reason="has one bias per channel",
    ),
    Case(
        "unknown op",
        "z = CumSum (c, axis)",
        "int64 axis = {1}",
        reason="no rule for op CumSum",
    ),
    Case(
        "custom domain",
        "z = com.microsoft.Pad (c, pads)",
        "int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}",
        reason="custom domain 'com.microsoft'",
    ),
    Case(
        "a branch of an If that gives a constant",
        "m = ReduceMax <keepdims = 0> (x)\n q = Greater (m, zero)\n"
        "z = If (q) <then_branch = yes () => (float[1,8,8,8] a) { a = Relu (c) },"
        " else_branch = no () => (float[1,8,8,8] b) { b = Identity (zeros) }>",
        "float zero = {0.0}, float[1,8,8,8] zeros",
        reason="other branch of If",
    ),
    *MIXED,
    Case("Softmax over channels", "z = Softmax <axis = 1> (c)", reason="Softmax.* mixes"),
    Case("Softmax over all, opset 11", "z = Softmax <axis = 1> (c)", opset=11, reason="mixes"),
    Case("Softmax by default, opset 11", "z = Softmax (c)", opset=11, reason="mixes"),
    Case("LogSoftmax over channels", "z = LogSoftmax <axis = -3> (c)", reason="mixes"),
    Case("Hardmax over channels", "z = Hardmax <axis = 1> (c)", reason="mixes"),
    Case("LpNormalization over channels", "z = LpNormalization <axis = 1> (c)", reason="mixes"),
    Case("LRN", "z = LRN <size = 3> (c)", reason="LRN.* mixes"),
    Case(
        "LayerNormalization in channels last",
        "t = Transpose <perm = [0,2,3,1]> (c)\n n = LayerNormalization <axis = -1> (t, k)\n"
        "z = Transpose <perm = [0,3,1,2]> (n)",
        "float[8] k",
        reason="LayerNormalization.* mixes",
    ),
    Case("ReduceMean over channels", "z = ReduceMean <axes = [1]> (c)", n=1, reason="mixes"),
    Case(
        "ReduceMax over channels, opset 18",
        "z = ReduceMax (c, axes)",
        "int64[1] axes = {-3}",
        n=1,
        opset=18,
        reason="ReduceMax.* mixes",
    ),
    Case(
        "ReduceSum over everything",
        "s = ReduceSum (c)\n z = Add (c, s)",
        reason="ReduceSum.* mixes",
    ),
    Case(
        "ArgMax over channels",
        "a = ArgMax <axis = 1> (c)\n z = Cast <to = 1> (a)",
        n=1,
        reason="ArgMax.* mixes",
    ),
    Case(
        "every second channel",
        "z = Slice (c, starts, ends, axes, steps)",
        "int64[1] starts = {0}, int64[1] ends = {8}, int64[1] axes = {1}, int64[1] steps = {2}",
        n=4,
        reason="takes channels in steps of 2",
    ),
    Case(
        "channels in reverse",
        "z = Slice (c, starts, ends, axes, steps)",
        "int64[1] starts = {-1}, int64[1] ends = {-100}, int64[1] axes = {1},int64[1] steps = {-1}",
        reason="channel",
    ),
    Case(
        "channels become the batch",
        "z = Reshape (c, target)",
        "int64[4] target = {8, 1, 8, 8}",
        n=1,
        reason="works across the channels",
    ),
    Case(
        "MatMul of activations",
        "r = Reshape (c, flat)\n t = Transpose <perm = [0,2,1]> (r)\n m = MatMul (r, t)\n"
        "u = Unsqueeze (m, one)\n z = Transpose <perm = [0,2,1,3]> (u)",
        "int64[3] flat = {1, 8, 64}, int64[1] one = {1}",
        reason="multiplies activations",
    ),
    Case(
        "MaxPool with indices",
        "z, i = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c)",
        reason="indices",
    ),
    Case(
        "Pad of channels by reflection",
        'z = Pad <mode = "reflect"> (c, pads)',
        "int64[8] pads = {0, 1, 0, 0, 0, 1, 0, 0}",
        n=10,
        reason="Pad",
    ),
    Case(
        "Resize of channels",
        "z = Resize (c, , scales)",
        "float[4] scales = {1.0, 2.0, 1.0, 1.0}",
        n=16,
        reason="Resize",
    ),
    Case(
        "Gather at computed places",
        "a = ReduceMax <keepdims = 0> (x)\n i = Cast <to = 7> (a)\n m = Min (i, zero)\n"
        "n = Max (m, zero)\n u = Unsqueeze (n, axes)\n z = Gather <axis = 1> (c, u)",
        "int64 zero = {0}, int64[1] axes = {0}",
        n=1,
        reason="Gather",
    ),
    Case(
        "a sequence that is read as a whole",
        "s = SplitToSequence <axis = 1> (c, size)\n z = ConcatFromSequence <axis = 1> (s)",
        "int64 size = {4}",
        reason="no rule for op SplitToSequence",
    ),
    Case(
        "LayerNormalization scaled by channels",
        "h = ReduceMean <axes = [0,2,3], keepdims = 0> (c)\n"
        "z = LayerNormalization <axis = -1> (c, h)",
        reason="LayerNormalization.* reads these channels as a parameter",
    ),
    Case(
        "graph output",
        "y = Relu (c)",
        reason="graph output 'y'",
    ),
    Case(
        "batch statistics across channels",
        "z = MeanVarianceNormalization <axes = [0, 1, 2, 3]> (c)",
        reason="mixes",
    ),
]
LOCKED += FIXED + UNKNOWN + SUMMED + UNMATCHED + ADDRESSED
LOCKED += [case for case, _ in OLDER_FIXED]
