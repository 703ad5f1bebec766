"""Loops that run a fixed number of times are written out: the same outputs, one set of weights."""

from __future__ import annotations

from typing import Any

import branches_oracle as oracle
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.errors import ModelError
from reprune_onnx.settings import Settings

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]>'
RESIDUAL = """g (float[1,3,6,6] x) => (float[1,4,6,6] y) {{
  h = Conv (x, first)
  z = Loop ({rounds}, {go}, h) <body = again (int64 k, bool on, float[1,8,6,6] u) =>
      (bool more, float[1,8,6,6] w) {{
    a = Conv (u, w1)  b = Relu (a)  c = Conv (b, w2)  w = Add (u, c)  more = Identity (on) }}>
  y = Conv (z, last)
}}"""
COUNTED = """g (float[1,3,6,6] x) => (float[1,4,6,6] y) {{
  h = Conv (x, first)
  t, z = Loop (many, yes, nought, h) <body = again
      (int64 k, bool on, int64 i, float[1,8,6,6] u) => (bool more, int64 j, float[1,8,6,6] w) {{
    j = Add (i, two)  more = Less (j, {end})
    a = Conv (u, w1)  b = Relu (a)  c = Conv (b, w2)  w = Add (u, c) }}>
  y = Conv (z, last)
}}"""
MEASURED = """g (float[{t},2,5] x) => (float[t,2,4] y) {{
  s = Shape (x)
  n = Gather (s, nought)
  end, y = Loop (n, , start) <body = again (int64 k, bool on, float[2,6] u) =>
      (bool more, float[2,6] v, float[2,4] o) {{
    r = Gather (x, k)  a = MatMul (r, in)  b = MatMul (u, state)  c = Add (a, b)  v = Tanh (c)
    m = MatMul (v, wide)  q = Relu (m)  o = MatMul (q, out)
    more = Constant <value = bool {{1}}> () }}>
}}"""
SCANNED = """g (float[2,7,5] x) => (float[2,4,7] y, float[2,6] end) {{
  end, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [{back}],
      scan_output_axes = [-1], scan_output_directions = [{turned}],
      body = again (float[2,6] u, float[2,5] r) => (float[2,6] v, float[2,4] o) {{
    a = MatMul (r, in)  b = MatMul (u, state)  c = Add (a, b)  v = Tanh (c)
    m = MatMul (v, wide)  q = Relu (m)  o = MatMul (q, out) }}> (start, x)
}}"""
NESTED = """g (float[1,3,6,6] x) => (float[1,4,6,6] y) {{
  h = Conv (x, first)
  z = Loop (three, , h) <body = outer (int64 k, bool on, float[1,8,6,6] u) =>
      (bool more, float[1,8,6,6] w) {{
    f = Transpose <perm = [0, 1, 3, 2]> (w1)
    w = Loop (two, , u) <body = inner (int64 l, bool go, float[1,8,6,6] p) =>
        (bool still, float[1,8,6,6] q) {{
      a = Conv (p, f)  b = Relu (a)  c = Conv (b, w2)  q = Add (u, c)  still = Identity (go) }}>
    more = Identity (on) }}>
  y = Conv (z, last)
}}"""
rng = np.random.default_rng(0)
CONSTANTS = {
    "first": rng.standard_normal((8, 3, 1, 1)),
    "w1": rng.standard_normal((10, 8, 1, 1)) / 4,
    "w2": rng.standard_normal((8, 10, 1, 1)) / 4,
    "last": rng.standard_normal((4, 8, 1, 1)),
    "in": rng.standard_normal((5, 6)),
    "state": rng.standard_normal((6, 6)) / 3,
    "wide": rng.standard_normal((6, 10)),
    "out": rng.standard_normal((10, 4)),
    "start": np.zeros((2, 6)),
    "nought": np.int64(0),
    "two": np.int64(2),
    "three": np.int64(3),
    "five": np.int64(5),
    "many": np.int64(2**40),
    "yes": np.bool_(True),
}
LOOPS = {
    "a number of rounds": RESIDUAL.format(rounds="three", go="yes"),
    "a number alone": RESIDUAL.format(rounds="two", go=""),
    "a counter": COUNTED.format(end="five"),
    "rows": MEASURED.format(t=7),
    "a scan": SCANNED.format(back=0, turned=0),
    "a scan from the end": SCANNED.format(back=1, turned=1),
    "a scan turned": SCANNED.format(back=1, turned=0),
    "a loop in a loop": NESTED.format(),
}


def network(text: str, opset: int = 15) -> onnx.ModelProto:
    used = {n: v for n, v in CONSTANTS.items() if f"{n})" in text or f"{n}," in text}
    floats = {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in used.items()}
    return model(HEAD.format(opset=opset) + text, **floats)


def moved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same, where what only the body reads stands in the body."""
    outside = {i for node in proto.graph.node for i in node.input}
    for node in proto.graph.node:
        for body in [a.g for a in node.attribute if a.HasField("g")]:
            read = {i for inner in body.node for i in inner.input} - outside
            for tensor in [t for t in proto.graph.initializer if t.name in read]:
                body.initializer.append(tensor)
                proto.graph.initializer.remove(tensor)
    return proto


def images(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    dims = [d.dim_value or 7 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(1).standard_normal(dims).astype(np.float32)}


@pytest.mark.parametrize("place", [moved, lambda proto: proto], ids=["inside", "captured"])
@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_what_is_written_out_computes_the_same(text: str, place: Any) -> None:
    proto = place(network(text))

    unrolled = written_out(rp.Model(proto)).proto

    assert not {"Loop", "Scan"} & {node.op_type for node in unrolled.graph.node}
    onnx.checker.check_model(unrolled, full_check=True)
    x = images(proto)
    for a, b in zip(oracle.run(proto, **x), oracle.run(unrolled, **x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # fused otherwise, summed otherwise


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_a_loop_from_which_nothing_goes_stays_as_it_is(text: str) -> None:
    """The file goes as it came, though the network that was looked at has its loop written out."""
    proto = moved(network(text))
    came = proto.SerializeToString(deterministic=True)

    result = rp.prune(rp.Model(proto), Settings(sparsity=0.0, residual="prune"))

    assert proto.SerializeToString(deterministic=True) == came  # stamped is a copy
    assert result.report["verification"] is not None
    assert result.report["verification"]["passed"]
    assert [node.op_type for node in result.model.proto.graph.node] == [
        node.op_type for node in proto.graph.node
    ]


@pytest.mark.parametrize("place", [moved, lambda proto: proto], ids=["inside", "captured"])
@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_the_weights_of_all_rounds_are_cut_once(text: str, place: Any) -> None:
    proto = place(network(text))
    half = Settings(sparsity=0.5, allocation="uniform", recover="none", residual="prune")

    result = rp.prune(rp.Model(proto), half)

    report: Any = result.report
    pruned, cuts = result.model.proto, report["cuts"]
    assert any("written out" in note for note in report["notes"])
    held = {t.name: t for t in pruned.graph.initializer}
    for cut in cuts:  # one tensor of each, however many rounds read it
        assert held[cut["initializer"]].dims[cut["axis"]] == len(cut["keep"])
    names = {cut["initializer"].split("/")[-1] for cut in cuts}
    assert len({cut["initializer"] for cut in cuts}) == len(names)
    assert names >= ({"wide", "out"} if "wide" in text else {"w2"})
    x = images(proto)
    expected = oracle.run(masked(proto, cuts), **x)
    made = oracle.run(pruned, **x)
    assert oracle.difference(expected, made) < 1e-5
    wrong = masked(proto, [{**cut, "keep": cut["keep"][1:]} for cut in cuts])
    assert oracle.difference(oracle.run(wrong, **x), made) > 1e-3


def masked(proto: onnx.ModelProto, cuts: list[dict[str, Any]]) -> onnx.ModelProto:
    """The original, with zeros where weights read what went: axis 1 of a Conv, 0 of a MatMul."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    tensors = list(copy.graph.initializer)
    for node in copy.graph.node:
        tensors += [t for a in node.attribute for t in a.g.initializer]
    for cut in cuts:
        name = (cut.get("source") or cut["initializer"]).split("/")[-1]
        name = {"f": "w1"}.get(name, name)  # which is made of it
        for stored in [t for t in tensors if t.name == name]:
            if cut["axis"] == (1 if len(stored.dims) == 4 else 0):
                array = np.moveaxis(numpy_helper.to_array(stored).copy(), cut["axis"], 0)
                array[np.setdiff1d(np.arange(len(array)), cut["keep"])] = 0
                leading = np.ascontiguousarray(np.moveaxis(array, 0, cut["axis"]))
                stored.CopyFrom(numpy_helper.from_array(leading, name))
    return copy


STAYS = {
    "an open size": MEASURED.format(t="t"),
    "a condition of what is computed": COUNTED.format(end="five").replace(
        "more = Less (j, five)", "s = ReduceMax <keepdims = 0> (u)  more = Less (s, nine)"
    ),
    "too many rounds": RESIDUAL.format(rounds="many", go="yes"),
}


@pytest.mark.parametrize("text", STAYS.values(), ids=STAYS)
def test_a_loop_whose_rounds_the_file_does_not_fix_stays(text: str) -> None:
    proto = network(text)
    if "nine" in text:
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(9), "nine"))

    assert written_out(rp.Model(proto)).proto is proto


def test_no_rounds_at_all_leave_the_loop() -> None:
    """What comes out is what goes in: nothing of the body is ever computed."""
    never = network(RESIDUAL.format(rounds="nought", go="yes"))

    assert written_out(rp.Model(never)).proto is never


def test_the_refusal_says_which_loops_are_followed() -> None:
    with pytest.raises(ModelError, match=r"4 MatMul nodes stand in bodies of Loop, .*fixed sizes"):
        rp.analyze(rp.Model(network(STAYS["an open size"])))


def test_older_opsets_have_the_axes_in_an_attribute() -> None:
    proto = network(SCANNED.format(back=0, turned=0), opset=11)

    unrolled = written_out(rp.Model(proto)).proto

    onnx.checker.check_model(unrolled, full_check=True)
    x = images(proto)
    np.testing.assert_array_equal(oracle.run(proto, **x)[0], oracle.run(unrolled, **x)[0])
