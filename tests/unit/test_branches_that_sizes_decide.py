"""An If whose condition follows from sizes that are stated or given: one branch is followed."""

from __future__ import annotations

from typing import Any

import branches_oracle as oracle
import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.settings import Settings

SQUEEZED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[{n},3,8,{w}] x) => (float[n,5] y) {{
  c = Conv (x, first)
  s = Shape (c)
  n = Gather (s, at)
  one = {compare} (n, unit)
  z = If (one) <
    then_branch = yes () => (float a) {{ a = Squeeze (c, axis) }},
    else_branch = no () => (float e) {{ e = Identity (c) }}>
  m = ReduceMean <axes = [2], keepdims = 0> (z)
  y = MatMul (m, last)
}}"""
rng = np.random.default_rng(0)
FIRST, LAST = rng.standard_normal((12, 3, 8, 1)), rng.standard_normal((12, 5))


def graph(at: int = 2, n: str = "1", w: str = "8", compare: str = "Equal", **more: Any) -> Any:
    """Channels by way of Squeeze where extent ``at`` is ``unit``, else of Identity."""
    constants: dict[str, Any] = {
        "first": FIRST.astype(np.float32),
        "last": LAST.astype(np.float32),
        "at": np.int64(at),
        "unit": np.int64(1),
        "axis": np.array([2]),
    }
    return model(SQUEEZED.format(n=n, w=w, compare=compare), **(constants | more))


def pruned(proto: onnx.ModelProto, **settings: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
    half = Settings(sparsity=0.5, allocation="uniform", recover="none", **settings)
    result = rp.prune(rp.Model(proto), half)
    return result.model.proto, result.report


def masked(proto: onnx.ModelProto, keep: list[int]) -> onnx.ModelProto:
    """The original that reads nothing of the channels that went."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    last = LAST.astype(np.float32)
    last[np.setdiff1d(np.arange(12), keep)] = 0
    stored = next(t for t in copy.graph.initializer if t.name == "last")
    stored.CopyFrom(onnx.numpy_helper.from_array(last, "last"))
    return copy


@pytest.mark.parametrize(("n", "w"), [("1", "8"), ("n", "8"), ("n", "w")])
def test_the_branch_that_is_taken_is_followed(n: str, w: str) -> None:
    """The height is 1 behind the layer, however many images and columns there are."""
    proto = graph(n=n, w=w)

    smaller, report = pruned(proto)

    cuts = {c["initializer"]: c["keep"] for c in report["cuts"]}
    assert {name: len(keep) for name, keep in cuts.items()} == {"first": 6, "last": 6}
    assert oracle.structure(smaller.graph) == oracle.structure(proto.graph)  # the If stays
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    made = oracle.run(smaller, x=x)
    assert oracle.difference(oracle.run(masked(proto, cuts["last"]), x=x), made) < 1e-5
    wrong = masked(proto, sorted({*range(12)} - {*cuts["last"]}))
    assert oracle.difference(oracle.run(wrong, x=x), made) > 1e-2


def test_what_an_open_size_decides_is_not_decided_here() -> None:
    """At 8 columns Identity is taken, at one Squeeze: the channels stay until it is given."""
    wide = graph(at=3, w="w", axis=np.array([3]))

    with pytest.raises(rp.RepruneError, match="nothing can be pruned"):
        pruned(wide)
    _, report = pruned(wide, input_shapes={"x": (1, 3, 8, 1)})
    assert {c["initializer"] for c in report["cuts"]} == {"first", "last"}


def test_channels_that_are_counted_by_the_condition_stay() -> None:
    """With fewer than 12 channels the other branch would be taken."""
    with pytest.raises(rp.RepruneError, match="reads a number that would change with the channels"):
        pruned(graph(at=1, compare="Greater", unit=np.int64(11)))
    _, report = pruned(graph(at=1, compare="Greater", unit=np.int64(0)))  # with any number
    assert {c["initializer"] for c in report["cuts"]} == {"first", "last"}


def test_layers_of_the_other_branch_stay() -> None:
    """They cannot be run at the sizes that are stated, so no cut in them could be proven."""
    text = SQUEEZED.replace(
        "e = Identity (c)", "f = Conv (x, in1)  g = Relu (f)  e = Conv (g, in2)"
    )
    inner = {
        "in1": rng.standard_normal((8, 3, 1, 1)).astype(np.float32),
        "in2": rng.standard_normal((12, 8, 8, 1)).astype(np.float32),
    }
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph().graph.initializer}
    proto = model(text.format(n="1", w="8", compare="Equal"), **constants, **inner)

    _, report = pruned(proto)

    assert {c["initializer"] for c in report["cuts"]} == {"first", "last"}
    assert any(
        "else_branch of If" in k["reason"] and "never" in k["reason"] for k in report["locked"]
    )


def test_constants_that_a_branch_computes_are_not_asked_for_one_by_one() -> None:
    """No node but one that makes a constant reads ``p``: it has no value of its own."""
    text = SQUEEZED.replace(
        "e = Identity (c)",
        "p = Constant <value_ints = [1]> ()  q = Add (p, p)  r = Sub (q, p)  e = CumSum (c, r)",
    )
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph().graph.initializer}
    proto = model(text.format(n="1", w="8", compare="Equal"), **constants)

    _, report = pruned(proto)

    assert {c["initializer"] for c in report["cuts"]} == {"first", "last"}


RANKS = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,8,8] x, float[r,5] boxes) => (float[1,4] y) {
  c = Conv (x, first)
  n = Shape (boxes)
  k = Gather (n, nought)
  none = Equal (k, nought)
  rows = If (none) <
    then_branch = yes () => (int64[t] a) { a = Constant <value = int64[1] {0}> () },
    else_branch = no () => (int64[t] e) {
      f = ReduceMax <axes = [1], keepdims = 0> (boxes)  g = Greater (f, low)
      h = NonZero (g)  e = Squeeze (h, nothing) }>
  some = Gather <axis = 2> (c, rows)
  m = ReduceMean <axes = [2, 3], keepdims = 0> (some)
  y = MatMul (m, last)
}"""


def test_the_rank_of_places_is_known_though_one_branch_is_a_constant() -> None:
    """As of the boxes that are left in detectors: what is gathered by them has channels still."""
    proto = model(
        RANKS,
        first=rng.standard_normal((12, 3, 1, 1)).astype(np.float32),
        last=rng.standard_normal((12, 4)).astype(np.float32),
        nought=np.int64(0),
        nothing=np.array([0]),
        low=np.float32(-1e9),
    )

    _, report = pruned(proto, input_shapes={"boxes": (4, 5)})

    assert {c["initializer"]: len(c["keep"]) for c in report["cuts"]} == {"first": 6, "last": 6}
