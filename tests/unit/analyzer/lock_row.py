"""For every sentence by which channels stay: a network that prints it, and a twin that does not.

The twin differs in what the sentence gives as its cause; there the same channels can go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx

import reprune_onnx as rp

PRUNE = rp.Scope(residual="prune", norm_statistics="lock")


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

TWICE = "[other] d = Conv <pads = [1,1,1,1]> (f, d_w)\n s = Shape (x)\n"
TWICE += "n = Slice <starts = [0], ends = [1]> (s)\n"
TWICE += "t = Concat <axis = 0> (n, eight, rest)\n p = Reshape (c, t)\n"

POSITIONS = "g = GlobalAveragePool (c)\n h = Reshape (g, row)\n o = Conv (f, o_w)\n"
POSITIONS += "q = Reshape (o, flat)\n"
KERNEL = "g = GlobalAveragePool (c)\n u = Transpose <perm = [1,0,2,3]> (g)\n"
KERNEL += "[match] m = Conv (t, u)\n z = ReduceMean <axes = [0]> (m)"

LOOP = "[loop] l = Loop (three, yes, k) <body = more (int64 i, bool on, float[1,8,8,8] a) =>"
LOOP += " (bool still, float[1,8,8,8] b) {{ still = Identity (on)\n {} }}>"
ROUNDS = "[loop] z = Loop ({}, , c) <body = again (int64 i, bool on, float[1,8,8,8] a) =>"
ROUNDS += " (bool more, float[1,8,8,8] b) {{ more = Identity (on)\n b = Conv (a, d_w) }}>"
OF_X = "m = ReduceMax <keepdims = 0> (x)\n"
SIDES = "p = Shape <start = 2, end = 3> (x)\n m = Squeeze (p)\n"
OTHER = "[other] o = Conv <pads = [1,1,1,1]> (f, o_w)\n"
IF = "q = Greater (m, zero)\n[either] z = If (q) <then_branch = yes () => (float[1,8,8,8] a)"
IF += " {{ a = Relu (c) }}, else_branch = no () => (float[] d) {{ {} }}>"
