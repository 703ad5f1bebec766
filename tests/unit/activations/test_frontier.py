"""Stretches of a network, run one after the other, make what the whole network makes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from ort_version import ort_is_older_than
from text_graphs import model

import reprune_onnx.activations.half as half_module
import reprune_onnx.activations.stretch as stretch_module
from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.room import Room
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

RNG = np.random.default_rng(5)
W = {f"w{k}": RNG.standard_normal((4, 4, 3, 3)) / 6 for k in range(4)}

RESIDUAL = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,4,6,6] x) => (float[n,4,6,6] out) {
  a = Conv <pads = [1,1,1,1]> (x, w0)
  r = Relu (a)
  b = Conv <pads = [1,1,1,1]> (r, w1)
  c = Add (b, a)
  d = Relu (c)
  e = Conv <pads = [1,1,1,1]> (d, w2)
  out = Add (e, r)
}"""

CAPTURED = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,4,6,6] x, float[n,4,6,6] other) => (float[n,4,6,6] out) {
  a = Conv <pads = [1,1,1,1]> (x, w0)
  b = Conv <pads = [1,1,1,1]> (other, w1)
  s = ReduceMean <keepdims = 0> (b)
  zero = Constant <value = float {0.0}> ()
  more = Greater (s, zero)
  c = If (more) <
    then_branch = t () => (float[n,4,6,6] p) { p = Mul (a, b) },
    else_branch = u () => (float[n,4,6,6] q) { q = Conv <pads = [1,1,1,1]> (a, w2) }
  >
  out = Conv <pads = [1,1,1,1]> (c, w3)
}"""

CONSTANTS = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,4,6,6] x) => (float[n,4,6,6] out) {
  two = Constant <value = float {2.0}> ()
  twice = Mul (w0, two)
  flat = Constant <value = int64[2] {4, -1}> ()
  a = Conv <pads = [1,1,1,1]> (x, twice)
  like = CastLike (two, a)
  half = Reciprocal (like)
  b = Conv <pads = [1,1,1,1]> (a, w1)
  c = Mul (b, half)
  d = Conv <pads = [1,1,1,1]> (c, w1)
  p, q = Split <axis = 1> (d)
  e = Conv <pads = [1,1,1,1]> (d, twice)
  f, g = Split <axis = 1> (e)
  h = Concat <axis = 1> (q, f)
  out = Mul (h, like)
}"""

SEQUENCE = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,4,6,6] x) => (float[n,4,6,6] out) {
  a = Conv <pads = [1,1,1,1]> (x, w0)
  parts = SplitToSequence <axis = 1, keepdims = 1> (a)
  zero = Constant <value = int64 {0}> ()
  n = SequenceLength (parts)
  p = SequenceAt (parts, zero)
  b = Mul (a, p)
  c = Conv <pads = [1,1,1,1]> (b, w1)
  one = Constant <value = int64 {1}> ()
  last = Sub (n, one)
  q = SequenceAt (parts, last)
  out = Mul (c, q)
}"""

CASES: dict[str, tuple[str, list[str], list[list[str]]]] = {
    "residual": (RESIDUAL, ["x"], [["a"], ["r", "b"], ["c"], ["d", "r"], ["out", "x"]]),
    "one by one": (RESIDUAL, ["x"], [[], ["a"], ["a"], [], ["e"], ["out"]]),
    "captured": (CAPTURED, ["x", "other"], [["a"], ["b"], ["c"], ["c", "out", "other"]]),
    "captured late": (CAPTURED, ["x", "other"], [["b", "other"], ["a"], ["out"]]),
    "constants": (CONSTANTS, ["x"], [["a"], ["b"], ["d"], ["p"], ["e"], ["h"], ["out"]]),
    "both parts": (CONSTANTS, ["x"], [["p"], ["e"], ["q"], ["f"], ["g", "out"]]),
    "sequence": (SEQUENCE, ["x"], [["a"], ["p"], ["c"], ["q"], ["out"]]),
}


def images(names: Sequence[str], batches: int = 3) -> list[Arrays]:
    rng = np.random.default_rng(1)
    sizes = [2] * (batches - 1) + [1]
    return [
        {name: rng.standard_normal((n, 4, 6, 6)).astype(np.float32) for name in names}
        for n in sizes
    ]


def in_one_run(proto: onnx.ModelProto, feeds: Arrays, names: Sequence[str]) -> Arrays:
    computed = [n for n in names if n not in feeds]
    outputs = Session(proto, optimize=False, outputs=computed).run(feeds) if computed else {}
    return {**outputs, **{n: feeds[n] for n in names if n in feeds}}


def network(text: str) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(model(text, **W))


COUNTS = {
    "all from the start": [3] * 7,
    "more at each step": [1, 1, 2, 2, 3, 3, 3],
    "fewer again": [1, 3, 3, 2, 1, 1, 1],
    "growing again": [2, 1, 3, 1, 2, 3, 1],
}


def taken(frontier: Frontier) -> list[Arrays]:
    """The tensors of the next step, of all its batches."""
    frontier.advance()
    return [frontier.compute(k) for k in range(frontier.batches)]


@pytest.mark.parametrize("large", [0, half_module._LARGE], ids=["in float16", "in float32"])
@pytest.mark.parametrize("memory", [0, 1 << 20])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize(("text", "inputs", "steps"), CASES.values(), ids=CASES)
def test_stretches_make_what_one_run_makes(
    text: str,
    inputs: list[str],
    steps: list[list[str]],
    counts: list[int],
    memory: int,
    large: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(half_module, "_LARGE", large)
    rounding = 1e-4 if large else 8e-3
    proto, feeds = network(text), images(inputs)
    frontier = Frontier(Model(proto), feeds, steps, counts, Store(Room(memory)))
    for names, count in zip(steps, counts, strict=False):
        batches = taken(frontier)
        assert len(batches) == count
        for arrays, feed in zip(batches, feeds, strict=False):
            expected = in_one_run(proto, feed, names)
            assert set(arrays) == set(names)
            for name in names:
                assert arrays[name].dtype == expected[name].dtype
                np.testing.assert_allclose(
                    arrays[name], expected[name], rtol=rounding, atol=rounding / 2
                )


def test_what_is_too_large_for_float16_becomes_its_largest_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first batch tells nothing of one value among those that come later."""
    monkeypatch.setattr(half_module, "_LARGE", 0)
    proto, feeds = network(RESIDUAL), images(["x"])
    feeds[2]["x"][0, 2, 3, 3] = 1e7
    feeds[1]["x"][0, 0, 0, 0] = np.nan
    store = Store(Room())
    frontier = Frontier(Model(proto), feeds, [["a"], ["out"]], [3, 3], store)
    made = taken(frontier)
    held = [store.get("a", k) for k in range(3)]
    assert {array.dtype for array in held} == {np.dtype(np.float16)}
    top = float(np.finfo(np.float16).max)
    assert np.abs(made[2]["a"]).max() > top == np.abs(held[2]).max()
    assert np.isnan(held[1]).any()
    np.testing.assert_allclose(held[2], np.clip(made[2]["a"], -top, top), rtol=2**-10, atol=2**-20)


@pytest.mark.parametrize("factor", [1e-5, 1e5, np.inf])
def test_values_outside_the_range_of_float16_are_held_in_float32(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_module, "_LARGE", 0)
    proto, feeds = network(RESIDUAL), images(["x"])
    for feed in feeds:
        feed["x"] *= np.float32(factor)
    store = Store(Room())
    frontier = Frontier(Model(proto), feeds, [["a"], ["out"]], [3, 3], store)
    taken(frontier)
    assert {store.get("a", k).dtype for k in range(3)} == {np.dtype(np.float32)}


def test_what_finds_no_room_beside_other_sessions_runs_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Crowded(Session):
        def __init__(self, proto: Any, use: Any, **kwargs: Any) -> None:
            self.use = use
            super().__init__(proto, use=use, **kwargs)

        def run(self, feeds: Any, outputs: Any = None) -> Any:
            if self.use != "alone":
                raise MemoryError("Available memory of 1 is smaller than requested bytes of 2")
            return super().run(feeds, outputs)

    monkeypatch.setattr(stretch_module, "Session", Crowded)
    proto, feeds = network(RESIDUAL), images(["x"])
    frontier = Frontier(Model(proto), feeds, [["a"], ["out"]], [1, 3], Store(Room()))
    for names in (["a"], ["out"]):
        for arrays, feed in zip(taken(frontier), feeds, strict=False):
            expected = in_one_run(proto, feed, names)
            np.testing.assert_allclose(arrays[names[0]], expected[names[0]], rtol=1e-4, atol=1e-5)


def test_each_node_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    class Recording(Session):
        def __init__(self, proto: Any, **kwargs: Any) -> None:
            ran.extend(o for node in proto.graph.node for o in node.output)
            super().__init__(proto, **kwargs)

    monkeypatch.setattr(stretch_module, "Session", Recording)
    frontier = Frontier(
        Model(network(RESIDUAL)), images(["x"]), CASES["residual"][2], [3] * 5, Store(Room())
    )
    for _ in range(5):
        taken(frontier)
    assert sorted(ran) == ["a", "b", "c", "d", "e", "out", "r"]


def test_each_image_passes_each_node_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that come later run from the input, those that were there go on from the frontier."""
    passes: list[tuple[str, int]] = []

    class Recording(Session):
        def __init__(self, proto: Any, **kwargs: Any) -> None:
            self.made = [o for node in proto.graph.node for o in node.output]
            super().__init__(proto, **kwargs)

        def run(self, feeds: Any, outputs: Any = None) -> Any:
            passes.extend((name, len(next(iter(feeds.values())))) for name in self.made)
            return super().run(feeds, outputs)

    monkeypatch.setattr(stretch_module, "Session", Recording)
    steps, counts = [["a"], ["b"], ["d"], ["e"], ["out"]], [1, 1, 2, 3, 3]
    frontier = Frontier(Model(network(RESIDUAL)), images(["x"]), steps, counts, Store(Room()))
    for _ in steps:
        taken(frontier)
    for name in ("a", "r", "b", "c", "d", "e", "out"):
        assert sorted(n for made, n in passes if made == name) == [1, 2, 2], name


def test_only_what_later_steps_read_is_held() -> None:
    steps = [["a"], ["b"], ["d"], ["e"], ["out"]]
    held = [{"a"}, {"a", "b", "r"}, {"d", "r"}, {"e", "r"}, set()]
    store = Store(Room())
    frontier = Frontier(Model(network(RESIDUAL)), images(["x"]), steps, [1, 2, 3, 2, 2], store)
    for wanted in held:
        taken(frontier)
        assert store.names() == wanted


def test_a_long_chain_holds_no_more_than_a_short_one() -> None:
    n = 12
    lines = "\n".join(f"t{k + 1} = Conv <pads = [1,1,1,1]> (t{k}, w{k % 4})" for k in range(n))
    proto = network(
        f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[n,4,6,6] t0) => (float[n,4,6,6] t{n}) {{ {lines} }}"""
    )
    store = Store(Room())
    steps = [[f"t{k + 1}"] for k in range(n)]
    frontier = Frontier(Model(proto), images(["t0"]), steps, [3] * n, store)
    for k in range(n - 1):
        taken(frontier)
        assert store.names() == {f"t{k + 1}"}


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stretch may define a tensor twice, even if ONNX Runtime takes one of the two."""

    class Checked(Session):
        def __init__(self, proto: Any, **kwargs: Any) -> None:
            names = [t.name for t in proto.graph.initializer]
            names += [o for node in proto.graph.node for o in node.output]
            assert len(names) == len(set(names))
            super().__init__(proto, **kwargs)

    monkeypatch.setattr(stretch_module, "Session", Checked)


@pytest.mark.parametrize("kind", ["initializer", "constant node"])
def test_a_changed_weight_acts_on_later_nodes_only(kind: str, once: None) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[n,4,6,6] x) => (float[n,4,6,6] out) {
      a = Conv <pads = [1,1,1,1]> (x, w0)
      b = Conv <pads = [1,1,1,1]> (a, w1)
      c = Conv <pads = [1,1,1,1]> (b, w2)
      out = Add (c, a)
    }"""
    proto = network(text)
    if kind == "constant node":
        tensors, nodes = list(proto.graph.initializer), list(proto.graph.node)
        del proto.graph.initializer[:]
        del proto.graph.node[:]
        made = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in tensors]
        proto.graph.node.extend([*made, *nodes])
    new = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32)
    feeds = images(["x"])
    frontier = Frontier(Model(proto), feeds, [["a"], ["b"], ["out", "c"]], [3] * 3, Store(Room()))
    taken(frontier)
    frontier.change({"w0": new, "w1": new})
    made_then = [arrays["b"] for arrays in taken(frontier)]
    last = taken(frontier)
    changed = network(text)
    for tensor in changed.graph.initializer:
        if tensor.name == "w1":
            tensor.CopyFrom(numpy_helper.from_array(new, "w1"))
    for k, feed in enumerate(feeds):
        expected = in_one_run(changed, feed, ["b", "out", "c"])
        np.testing.assert_allclose(made_then[k], expected["b"], rtol=1e-4, atol=1e-4)
        for name in ("out", "c"):
            np.testing.assert_allclose(last[k][name], expected[name], rtol=1e-4, atol=1e-4)
    assert not np.allclose(made_then[0], in_one_run(network(text), feeds[0], ["b"])["b"], atol=1e-2)


def test_outputs_of_a_layer_are_rescaled_for_what_follows() -> None:
    proto, feeds = network(RESIDUAL), images(["x"])
    scale, shift = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.0, 1.0, 2.0, -3.0])
    op = Graph(Model(proto)).producer("b")
    assert op is not None
    store = Store(Room())
    frontier = Frontier(Model(proto), feeds, [["b"], ["c"]], [3, 3], store)
    taken(frontier)
    frontier.rescale(Linear(op, (4, 4, 3, 3)), scale, shift)
    after = [store.get("b", k) for k in range(3)]
    for k, arrays in enumerate(taken(frontier)):
        expected = in_one_run(proto, feeds[k], ["a", "b"])
        b = expected["b"] * scale[:, None, None] + shift[:, None, None]
        assert after[k].dtype == np.float32
        np.testing.assert_allclose(after[k], b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(arrays["c"], b + expected["a"], rtol=1e-4, atol=1e-5)


def test_the_model_and_the_images_stay_as_they_are() -> None:
    proto, feeds = network(RESIDUAL), images(["x"])
    bytes_before = proto.SerializeToString(deterministic=True)
    arrays = [f["x"].copy() for f in feeds]
    frontier = Frontier(Model(proto), feeds, [["a"], ["out"]], [2, 3], Store(Room()))
    taken(frontier)
    frontier.change({"w1": np.zeros((4, 4, 3, 3), np.float32)})
    taken(frontier)
    assert proto.SerializeToString(deterministic=True) == bytes_before
    for feed, array in zip(feeds, arrays, strict=True):
        np.testing.assert_array_equal(feed["x"], array)


@pytest.mark.skipif(ort_is_older_than("1.23"), reason="ONNX Runtime 1.23 is the first that has it")
def test_a_stretch_begins_with_extents_that_are_known() -> None:
    """The inference of Attention makes 0 of those that are not, where several heads share a key."""
    text = """<ir_version: 10, opset_import: ["": 23]>
    g (float[n,5,6] x) => (float[n,5,4] out) {
      q = MatMul (x, wq)  k = MatMul (x, wk)  v = MatMul (x, wv)
      a = Attention <q_num_heads = 4, kv_num_heads = 2> (q, k, v)
      out = MatMul (a, wo)
    }"""
    shapes = {"wq": (6, 12), "wk": (6, 6), "wv": (6, 6), "wo": (12, 4)}
    proto = model(text, **{name: RNG.standard_normal(shape) for name, shape in shapes.items()})
    images = [{"x": RNG.standard_normal((n, 5, 6)).astype(np.float32)} for n in (3, 3, 2)]

    stretches = Frontier(Model(proto), images, [["q", "k", "v"], ["out"]], [3, 3], Store(Room()))

    for _ in range(2):
        stretches.advance()
        made = [stretches.compute(b) for b in range(3)]
    for arrays, feeds in zip(made, images, strict=True):
        expected = Session(proto, optimize=False).run(feeds)["out"]
        np.testing.assert_allclose(arrays["out"], expected, rtol=1e-4, atol=1e-5)
