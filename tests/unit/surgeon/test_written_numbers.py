"""Numbers that the graph computes and that would not follow a cut: written down one by one.

As exporters write attention over images of any size: the Reshape's target counts positions, which
stay computed, and channels of another tensor, which must become a constant.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import VerificationError
from reprune_onnx.results import Cut, CutNetwork
from reprune_onnx.surgeon import cut
from reprune_onnx.types import ChannelMap
from reprune_onnx.verification.cut import verify_cut

PRUNE = rp.Scope(residual="prune", input_shapes={"x": (1, 3, 4, 5)})

HEAD = """[q] q = MatMul (t, q_w)  [k] k = MatMul (t, k_w)  u = Transpose <perm = [0,2,1]> (k)
  s = MatMul (q, u)  {scale}  p = Softmax <axis = -1> (z)  [v] v = MatMul (t, v_w)
  a = MatMul (p, v)"""
ROWS = """b = Shape <end = 1> (f)  n = Shape <start = 2> (f)  m = ReduceProd <axes = [0]> (n)
  c = Shape <start = 1, end = 2> (f)"""
START = """[stem] f = Conv <pads = [1,1,1,1]> (x, f_w)
  {rows}
  flat = Concat <axis = 0> (b, c, minus)  r = Reshape (f, flat)
  t = Transpose <perm = [0,2,1]> (r)"""
END = """size = Concat <axis = 0> (b, m, c)  w = Reshape (a, size)
  [out] o = MatMul (w, o_w)  y = ReduceMean <axes = [1]> (o)"""


def attention(scale: str = "z = Mul (s, half)", opset: int = 17) -> onnx.ModelProto:
    body = "\n".join((START.format(rows=ROWS), HEAD.format(scale=scale), END))
    text = f"""<ir_version: 8, opset_import: ["": {opset}]>
    g (float[N,3,H,W] x) => (float[n,1,c] y) {{ {body} }}"""
    rng = np.random.default_rng(0)
    weights = {f"{k}_w": rng.standard_normal((6, 6)) for k in "qkv"}
    return model(
        text,
        f_w=rng.standard_normal((6, 3, 3, 3)),
        o_w=rng.standard_normal((6, 5)),
        minus=np.array([-1]),
        half=np.float32(0.4),
        root=np.float32(0.5),
        one=np.float32(1),
        **weights,
    )


def dropped(proto: onnx.ModelProto, **gone: list[int]) -> tuple[Graph, ChannelMap, np.ndarray]:
    graph = graph_of(proto)
    channels = channels_of(graph, PRUNE)
    keep = np.ones(channels.n_units, dtype=np.bool_)
    for layer in channels.layers:
        keep[layer.out_ids[gone.get(layer.name, [])]] = False
    free = np.concatenate([g.units[g.free] for g in channels.groups])
    assert np.isin(np.flatnonzero(~keep), free).all(), "these channels may not go"
    return graph, channels, keep


def target(result: Cut, tensor: str) -> list[str]:
    (node,) = (n for n in result.model.proto.graph.node if tensor in n.output)
    return [node.op_type, *node.input]


def ran(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (y,) = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    return y


def by_hand(proto: onnx.ModelProto, kept: dict[str, tuple[int, list[int]]]) -> onnx.ModelProto:
    """The same text with shorter weights, and the width of values as a plain number."""
    hand = onnx.ModelProto()
    hand.CopyFrom(proto)
    for tensor in hand.graph.initializer:
        if tensor.name in kept:
            axis, which = kept[tensor.name]
            array = numpy_helper.to_array(tensor).take(which, axis=axis)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    width = np.array([len(kept["v_w"][1])])
    hand.graph.initializer.append(numpy_helper.from_array(width, "width"))
    (size,) = (n for n in hand.graph.node if n.output[0] == "size")
    size.input[2] = "width"
    return hand


def test_values_are_cut_where_a_target_counts_them_by_another_tensor() -> None:
    proto = attention()
    graph, channels, keep = dropped(proto, v=[1, 2], q=[0], k=[0])

    result = cut(rp.Model(proto), graph, channels, keep)

    assert target(result, "size_followed") == [
        "Where",
        "size_written_pruned",
        "size_pruned",
        "size",
    ]
    (entry,) = (r for r in result.rewrites if r.before is None)
    assert entry.after == [None, None, 4]
    stays = [1, 2, 3, 4, 5]
    hand = by_hand(
        proto,
        {"v_w": (1, [0, 3, 4, 5]), "o_w": (0, [0, 3, 4, 5]), "q_w": (1, stays), "k_w": (1, stays)},
    )
    for sides in (4, 7):
        x = np.random.default_rng(sides).standard_normal((2, 3, sides, 5)).astype(np.float32)
        np.testing.assert_allclose(ran(result.model.proto, x), ran(hand, x), rtol=2e-5, atol=2e-5)
    assert verify_cut(CutNetwork(graph, channels, keep, result.model)).passed


def test_a_wrong_number_beside_computed_ones_is_rejected() -> None:
    proto = attention()
    graph, channels, keep = dropped(proto, v=[1, 2])
    result = cut(rp.Model(proto), graph, channels, keep)
    (wrong,) = (t for t in result.model.proto.graph.initializer if t.name == "size_pruned")
    wrong.CopyFrom(numpy_helper.from_array(np.array([0, 0, 5]), "size_pruned"))

    with pytest.raises((VerificationError, rp.errors.ModelError)):
        verify_cut(CutNetwork(graph, channels, keep, result.model))


SCALE = """e = Shape <start = -1> (q)  d = Cast <to = 1> (e)  h = Sqrt (d)  i = Div (one, h)
  z = Mul (s, i)"""


def test_a_scale_made_of_the_width_of_queries_stays_what_it_was() -> None:
    proto = attention(SCALE)
    graph, channels, keep = dropped(proto, q=[0, 4], k=[0, 4])

    result = cut(rp.Model(proto), graph, channels, keep)

    scales = [numpy_helper.to_array(t) for t in result.model.proto.graph.initializer]
    assert any(a.shape == (1,) and np.isclose(a[0], 6**-0.5) for a in scales)
    assert verify_cut(CutNetwork(graph, channels, keep, result.model)).passed


def test_before_opset_9_such_values_stay() -> None:
    text = """<ir_version: 8, opset_import: ["": 8]>
    g (float[N,3,H,W] x) => (float[n,k,h,w] y) {
      [c] c = Conv (x, c_w)  [d] d = Conv (x, d_w)  s = Shape (c)  z = Reshape (d, s)
      y = Conv (z, e_w) }"""
    rng = np.random.default_rng(0)
    arrays = {"c_w": (4, 3, 1, 1), "d_w": (4, 3, 1, 1), "e_w": (2, 4, 1, 1)}
    weights = {name: rng.standard_normal(shape) for name, shape in arrays.items()}

    channels = rp.analyze(model(text, **weights), PRUNE)
    later = rp.analyze(model(text.replace('"": 8', '"": 9'), **weights), PRUNE)

    assert any("would not follow" in lock.reason for lock in channels.locks)
    assert not any("would not follow" in lock.reason for lock in later.locks)
