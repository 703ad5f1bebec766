"""The kinds of ../shared/cases again, with other sizes, names and forms, made here."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer import Scope, analyze, channels_of, graph_of
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.order import in_order
from reprune_onnx.pruner.earlier import keep_by_cuts
from reprune_onnx.results import CutNetwork, TensorCut
from reprune_onnx.settings import Settings
from reprune_onnx.verification.cut import check, verify_cut

RNG = np.random.default_rng(11)


def w(*shape: int, scale: float = 0.3) -> np.ndarray:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def half(*shape: int) -> np.ndarray:
    return w(*shape).astype(np.float16)


@dataclass(frozen=True)
class Variant:
    """A graph, what its layers have before and after at half their channels, and a note's words."""

    text: str
    constants: dict[str, np.ndarray]
    widths: list[list[int]]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    said: str = ""

    @property
    def proto(self) -> onnx.ModelProto:
        proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {self.text}')
        proto.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(v), name) for name, v in self.constants.items()
        )
        return proto


VARIANTS = {
    "unsorted": Variant(
        """half (float[2,4,12,9] photo) => (float[2,6,8,5] map) {
          deep = Conv (wide, second)  map = Cast <to = 1> (deep)  wide = Relu (raw)
          raw = Conv (cast, first)  cast = Cast <to = 10> (photo) }""",
        {"first": half(20, 4, 3, 3), "second": half(6, 20, 3, 3)},
        [[20, 10], [6, 6]],
        said="OUT holds all nodes in order",
    ),
    "lengths": Variant(
        """speech (float[frames,n,13] mfcc, int32[n] valid) => (float[n,3] label) {
          e = MatMul (mfcc, embed)  r = Relu (e)
          all, last = GRU <hidden_size = 12> (r, w, u, b, valid)
          s = Squeeze (last, front)  label = Gemm (s, out) }""",
        {
            "embed": w(13, 18),
            "w": w(1, 36, 18),
            "u": w(1, 36, 12),
            "b": w(1, 72),
            "front": np.array([0]),
            "out": w(12, 3),
        },
        [[18, 9], [12, 6], [3, 3]],
    ),
    "sliced_sigmoid": Variant(
        """yolo (float[1,3,20,12] image) => (float[1,240,6] boxes) {
          a = Conv <pads = [1,1,1,1]> (image, stem)  b = Relu (a)
          c = Conv (b, head, low)  p = Reshape (c, rows)  t = Transpose <perm = [0,2,1]> (p)
          s = Sigmoid (t)  xy, wh, cls = Split <axis = 2> (s, sizes)
          m = Mul (xy, two)  q = Mul (wh, wh)  boxes = Concat <axis = 2> (m, q, cls) }""",
        {
            "stem": w(14, 3, 3, 3),
            "head": w(6, 14, 1, 1),
            "low": np.full(6, -17, np.float32),
            "rows": np.array([1, 6, 240]),
            "sizes": np.array([2, 2, 2]),
            "two": np.float32(2),
        },
        [[14, 7], [6, 6]],
    ),
    "fixed_inside": Variant(
        """classes (float[batch,3,height,width] image) => (float[batch,9] scores) {
          a = Conv <strides = [4,4], pads = [1,1,1,1]> (image, stem)  b = Relu (a)
          f = Flatten (b)  scores = Gemm <transB = 1> (f, dense) }""",
        {"stem": w(10, 3, 4, 4), "dense": w(9, 10 * 8 * 8)},
        [[10, 5], [9, 9]],
        said="fits, and image = 1×3×224×224, which is assumed, does not",
    ),
    "shared_symbol": Variant(
        """voice (float[N,256] wave, float[1,N,4] memory) => (float[N,10] out) {
          u = Unsqueeze (wave, one)  a = Conv <strides = [8]> (u, first)  b = Relu (a)
          c = ReduceMax <axes = [2], keepdims = 0> (b)  d = MatMul (c, second)
          m = Squeeze (memory, nought)  out = Concat <axis = 1> (d, m) }""",
        {
            "one": np.array([1]),
            "nought": np.array([0]),
            "first": w(18, 1, 16),
            "second": w(18, 6),
        },
        [[18, 9], [6, 6]],
        shapes={"wave": (3, 256)},
    ),
    "product_of_extents": Variant(
        """flat (float[n,2,10,6] x) => (float[n,4] y) {
          a = Conv (x, first)  b = Relu (a)  s = Shape (b)
          rest = Slice (s, one, many)  product = ReduceProd <keepdims = 1> (rest)
          front = Slice (s, nought, one)  to = Concat <axis = 0> (front, product)
          f = Reshape (b, to)  y = MatMul (f, last) }""",
        {
            "first": w(16, 2, 3, 3),
            "one": np.array([1]),
            "nought": np.array([0]),
            "many": np.array([4]),
            "last": w(16 * 8 * 4, 4),
        },
        [[16, 8], [4, 4]],
    ),
    "into_lstm": Variant(
        """lines (float[1,1,9,30] page) => (float[7,1,8] text) {
          a = Conv <strides = [1,4]> (page, first)  b = Relu (a)  s = Squeeze (b, two)
          t = Transpose <perm = [2,0,1]> (s)
          h = RNN <hidden_size = 10, activations = ["Relu"]> (t, w, u)
          q = Squeeze (h, one)  text = MatMul (q, out) }""",
        {
            "first": w(14, 1, 9, 6),
            "two": np.array([2]),
            "w": w(1, 10, 14),
            "u": w(1, 10, 10),
            "one": np.array([1]),
            "out": w(10, 8),
        },
        [[14, 7], [10, 5], [8, 8]],
    ),
    "no_conv": Variant(
        """mixer (float[rows,11] table) => (float[rows,2] answer) {
          a = MatMul (table, k0)  b = Add (a, b0)  c = Tanh (b)
          d = MatMul (c, k1)  e = Add (b1, d)  f = Elu (e)  answer = MatMul (f, k2) }""",
        {"k0": w(11, 40), "b0": w(40), "k1": w(40, 26), "b1": w(26), "k2": w(26, 2)},
        [[40, 20], [26, 13], [2, 2]],
    ),
    "convs_in_if": Variant(
        """rates (float[1,2,64] wave, int64 rate) => (float[1,3,64] out) {
          fast = Equal (rate, sixteen)
          out = If (fast) <
            then_branch = yes () => (float[1,3,64] p) {
              a = Conv <pads = [2,2]> (wave, y0)  b = Relu (a)  p = Conv (b, y1) },
            else_branch = no () => (float[1,3,64] q) {
              c = Conv <pads = [1,1]> (wave, n0)  d = Selu (c)  q = Conv (d, n1) }> }""",
        {
            "sixteen": np.int64(16000),
            "y0": w(20, 2, 5),
            "y1": w(3, 20, 1),
            "n0": w(12, 2, 3),
            "n1": w(3, 12, 1),
        },
        [[20, 10], [3, 3], [12, 6], [3, 3]],
        said="2 branches of If hold layers",
    ),
    "twins_identity": Variant(
        """pairs (float[4,3,9,9] left, float[4,3,9,9] right) => (float[4,5] near) {
          i = Identity (enc)  again = Identity (i)  same = Identity (proj)
          a = Conv (left, enc)  b = Relu (a)  c = GlobalAveragePool (b)  d = Flatten (c)
          e = MatMul (d, proj)
          f = Conv (right, again)  g = Relu (f)  h = GlobalAveragePool (g)  j = Flatten (h)
          k = MatMul (j, same)  l = Sub (e, k)  m = Abs (l)  near = MatMul (m, out) }""",
        {"enc": w(12, 3, 3, 3), "proj": w(12, 8), "out": w(8, 5)},
        [[12, 6], [8, 4], [12, 6], [8, 4], [5, 5]],
    ),
    "global_context": Variant(
        """context (float[2,3,7,7] x) => (float[2,4,7,7] y) {
          a = Conv (x, w0)  b = Relu (a)  k = Conv (b, key)  f = Reshape (k, keys)
          p = Softmax <axis = 2> (f)  v = Reshape (b, values)  t = Transpose <perm = [0,2,1]> (v)
          c = MatMul (p, t)  d = Transpose <perm = [0,2,1]> (c)  e = Unsqueeze (d, three)
          z = Mul (b, e)  y = Conv (z, w1) }""",
        {
            "w0": w(14, 3, 1, 1),
            "key": w(1, 14, 1, 1),
            "keys": np.array([0, 1, -1]),
            "values": np.array([0, 14, -1]),
            "three": np.array([3]),
            "w1": w(4, 14, 1, 1),
        },
        [[14, 7], [1, 1], [4, 4]],
    ),
    "attention_1head": Variant(
        """tokens (float[2,25,9] x) => (float[2,25,3] y) {
          r = MatMul (x, embed)  g = Relu (r)
          q = MatMul (g, wq)  k = MatMul (g, wk)  v = MatMul (g, wv)
          t = Transpose <perm = [0,2,1]> (k)  l = MatMul (q, t)  s = Div (l, root)
          a = Softmax (s)  o = MatMul (a, v)  y = MatMul (o, out) }""",
        {
            "embed": w(9, 16),
            "wq": w(16, 10),
            "wk": w(16, 10),
            "wv": w(16, 6),
            "root": np.float32(3),
            "out": w(6, 3),
        },
        [[16, 8], [10, 5], [10, 5], [6, 3], [3, 3]],
    ),
    "roialign": Variant(
        """regions (float[1,3,24,24] image, float[r,4] boxes, int64[r] which)
            => (float[r,6] kinds) {
          a = Conv (image, w0)  b = Relu (a)
          p = RoiAlign <output_height = 3, output_width = 2, sampling_ratio = 2> (b, boxes, which)
          f = Flatten (p)  g = Gemm <transB = 1> (f, w1)  h = Relu (g)
          kinds = Gemm <transB = 1> (h, w2) }""",
        {"w0": w(12, 3, 5, 5), "w1": w(10, 72), "w2": w(6, 10)},
        [[12, 6], [10, 5], [6, 6]],
        shapes={"boxes": (2, 4)},
    ),
    "zeros_in_concat": Variant(
        """places (float[1,3,11,13] x) => (float[1,5,11,13] y) {
          a = Conv (x, w0)  b = Relu (a)  c = Concat <axis = 1> (rows_and_columns, b)
          d = Conv (c, w1)  e = Relu (d)  y = Conv (e, w2) }""",
        {
            "w0": w(10, 3, 1, 1),
            "rows_and_columns": w(1, 2, 11, 13),
            "w1": w(8, 12, 1, 1),
            "w2": w(5, 8, 1, 1),
        },
        [[10, 5], [8, 4], [5, 5]],
    ),
    "xcorr": Variant(
        """tracker (float[1,3,9,9] template, float[1,3,25,25] search) => (float[1,2,14,14] map) {
          a = Conv (template, wt)  p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a)
          k = Transpose <perm = [1,0,2,3]> (p)  b = Conv (search, ws)
          c = Conv <group = 12> (b, k)  d = Relu (c)  map = Conv (d, out) }""",
        {"wt": w(12, 3, 2, 2), "ws": w(12, 3, 9, 9), "out": w(2, 12, 1, 1)},
        [[12, 6], [12, 6], [2, 2]],
    ),
}
QUANTIZED = """fake (float[1,5,8,8] x) => (float[1,3,8,8] y) {
  q = own.quant.Round (w0, step)  a = Conv (x, q)  b = Relu (a)
  p = own.quant.Round (w1, step)  y = Conv (b, p) }"""


def scope(variant: Variant) -> Scope:
    return Scope(residual="prune", input_shapes=variant.shapes)


@cache
def pruned(name: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    variant = VARIANTS[name]
    wanted = Settings(
        sparsity=0.5,
        allocation="uniform",
        recover="none",
        residual="prune",
        input_shapes=variant.shapes,
    )
    result = rp.prune(rp.Model(variant.proto), wanted)
    return result.model.proto, result.report


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_pruned_and_proven(name: str) -> None:
    proto, report = pruned(name)

    assert [layer["out_channels"] for layer in report["layers"]] == VARIANTS[name].widths
    proof = report["verification"]
    assert proof["passed"]
    assert proof["max_abs_diff"] <= proof["tolerance"] * proof["scale"]
    assert proof["negative_control"] > 10 * proof["tolerance"] * proof["scale"]
    notes = " | ".join(report["notes"])
    kinds = {k: v.said for k, v in VARIANTS.items() if v.said}
    assert all((words in notes) is (kind == name) for kind, words in kinds.items()), notes
    onnx.checker.check_model(proto)


@pytest.mark.parametrize("name", VARIANTS)
def test_other_channels_than_the_report_says_are_not_proven(name: str) -> None:
    """The control: what is left of a weight is put in another order along one axis."""
    proto, report = pruned(name)
    source = written_out(in_order(rp.Model(VARIANTS[name].proto)))
    graph = graph_of(source)
    channels = channels_of(graph, scope(VARIANTS[name]))
    cuts = [
        TensorCut(c["initializer"], c["axis"], np.array(c["keep"]), c.get("source"))
        for c in report["cuts"]
    ]
    keep = keep_by_cuts(graph, channels, cuts, name)
    check(verify_cut(CutNetwork(graph, channels, keep, rp.Model(proto))))
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    cut = max(cuts, key=lambda c: np.prod(_stored(changed, c.initializer).dims))
    stored = _stored(changed, cut.initializer)
    array = np.flip(numpy_helper.to_array(stored), cut.axis)
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), stored.name))

    with pytest.raises(VerificationError, match="differs from the masked original"):
        check(verify_cut(CutNetwork(graph, channels, keep, rp.Model(changed))))


def _stored(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in proto.graph.initializer if t.name == name)


def test_a_foreign_quantizer_is_named() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17, "own.quant" : 1]>' + QUANTIZED
    proto = onnx.parser.parse_model(text)
    for name, value in (("w0", w(9, 5, 1, 1)), ("w1", w(3, 9, 1, 1)), ("step", np.float32(0.1))):
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    with pytest.raises(
        ModelError, match=r"made by nodes of the domain 'own\.quant', such as Round"
    ):
        analyze(rp.Model(proto))
    standard = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>' + QUANTIZED.replace("own.quant.Round", "Mul")
    )
    standard.graph.initializer.extend(proto.graph.initializer)
    assert len(analyze(rp.Model(standard)).layers) == 2  # the same, made by ONNX's own op
