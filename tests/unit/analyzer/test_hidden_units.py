"""Hidden units of recurrent layers, against cuts made by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import analyze, channels_of, graph_of
from reprune_onnx.runtime.ort import Session

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
N_IN, HIDDEN = 5, 8


def network(op: str, directions: int = 2, end: str = "", more: str = "") -> onnx.ModelProto:
    """``op`` reads x (7, 1, 5) and a matrix reads its hidden units, of which 1, 4 and 6 are weak.

    ``end`` follows as further nodes, ``more`` as further inputs of the layer.
    """
    rng = np.random.default_rng(3)
    states = f", float[{directions},1,{HIDDEN}] state" if "state" in more else ""
    g, way = GATES[op], "bidirectional" if directions == 2 else "forward"

    def normal(*shape: int) -> NDArray[np.float64]:
        return rng.standard_normal(shape) / np.sqrt(shape[-1])

    w = normal(directions, g, HIDDEN, N_IN)
    w[:, :, [1, 4, 6]] *= 0.1
    return model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[7,1,{N_IN}] x{states}) => (float[7,3] y) {{
          [layer] h, last = {op} <hidden_size = {HIDDEN}, direction = "{way}">
                            (x, w, r, b{more})
          t = Transpose <perm = [0,2,1,3]> (h)
          q = Reshape (t, to)
          [head] y = MatMul (q, k)
          {end}
        }}""",
        w=w.reshape(directions, g * HIDDEN, N_IN),
        r=normal(directions, g * HIDDEN, HIDDEN),
        b=normal(directions, 2 * g * HIDDEN),
        k=normal(directions * HIDDEN, 3),
        to=np.array([7, -1]),
    )


def array(proto: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    return next(numpy_helper.to_array(t) for t in proto.graph.initializer if t.name == name)


def cut_by_hand(proto: onnx.ModelProto, op: str, keep: list[int]) -> dict[str, NDArray[np.float32]]:
    """Every weight with its blocks of hidden units taken apart."""
    g, d = GATES[op], array(proto, "w").shape[0]
    w = array(proto, "w").reshape(d, g, HIDDEN, N_IN)[:, :, keep]
    r = array(proto, "r").reshape(d, g, HIDDEN, HIDDEN)[:, :, keep][..., keep]
    n = len(keep)
    return {
        "w": w.reshape(d, g * n, N_IN),
        "r": r.reshape(d, g * n, n),
        "b": array(proto, "b").reshape(d, 2 * g, HIDDEN)[:, :, keep].reshape(d, -1),
        "k": array(proto, "k").reshape(d, HIDDEN, 3)[:, keep].reshape(d * n, 3),
    }


def pruned(proto: onnx.ModelProto, method: rp.choices.Method = "l1") -> rp.Pruned:
    settings = rp.Settings(sparsity=3 / 8, method=method, recover="none")
    return rp.prune(rp.Model(proto), settings)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("op", list(GATES))
def test_hidden_units_are_cut_out_of_every_gate(op: str, directions: int) -> None:
    proto = network(op, directions)

    result = pruned(proto)

    for name, expected in cut_by_hand(proto, op, [0, 2, 3, 5, 7]).items():
        np.testing.assert_array_equal(array(result.model.proto, name), expected, name)
    layer = next(n for n in result.model.proto.graph.node if n.name == "layer")
    assert next(a.i for a in layer.attribute if a.name == "hidden_size") == 5
    assert result.report["verification"]["passed"]


def test_the_masked_original_masks_the_recurrence_too() -> None:
    """A mask of the readers alone would not do: R reads every hidden unit."""
    proto, gone = network("LSTM"), [1, 4, 6]
    small = pruned(proto).model.proto
    feeds = {"x": np.random.default_rng(0).standard_normal((7, 1, N_IN)).astype(np.float32)}
    expected = Session(small, optimize=False).run(feeds)["y"]

    def masked(recurrence: bool) -> NDArray[np.float32]:
        copy = onnx.ModelProto.FromString(proto.SerializeToString())
        for t in copy.graph.initializer:
            value = numpy_helper.to_array(t).copy()
            if t.name == "k":
                value.reshape(2, HIDDEN, 3)[:, gone] = 0
            if t.name == "r" and recurrence:
                value[..., gone] = 0
            t.CopyFrom(numpy_helper.from_array(value, t.name))
        outputs: NDArray[np.float32] = Session(copy, optimize=False).run(feeds)["y"]
        return outputs

    assert np.abs(masked(recurrence=True) - expected).max() < 1e-5
    assert np.abs(masked(recurrence=False) - expected).max() > 1e-2


@pytest.mark.parametrize(
    "method", ["reprune", "representative", "l2", "fpgm", "bn-gamma", "random"]
)
def test_every_criterion_chooses_among_hidden_units(method: rp.choices.Method) -> None:
    result = pruned(network("GRU"), method)

    (layer,) = [x for x in result.report["layers"] if x["node"] == "layer"]
    assert layer["out_channels"] == [8, 5]
    assert result.report["verification"]["passed"]


def test_multiply_adds_count_the_recurrence() -> None:
    graph = graph_of(rp.Model(network("LSTM", 1)))
    channels = channels_of(graph, rp.Scope())

    layer = channels.layers[0]
    assert rp.pruner.measure.cost(graph, channels).macs == 7 * (32 * 5 + 32 * 8) + 8 * 3
    assert (layer.positions, layer.weights) == (7, ((1, (1, 32, 5)), (2, (1, 32, 8))))


@pytest.mark.parametrize(
    ("end", "more", "reason"),
    [
        ("", ", , state", "input 'state'"),
        ("out = Identity (last)", "", "graph output 'out'"),
    ],
)
def test_units_stay_where_a_state_is_the_users(end: str, more: str, reason: str) -> None:
    proto = network("LSTM", 2, end, more)
    if end:
        proto.graph.output.append(onnx.helper.make_tensor_value_info("out", 1, [2, 1, HIDDEN]))

    channels = analyze(rp.Model(proto))

    group = next(g for g in channels.groups if g.producers[0].layer.name == "layer")
    assert not group.free.any()
    locks = [k for k in channels.locks if np.isin(group.units, k.ids).all()]
    assert any(reason in f"{k.node} {k.reason}" for k in locks)


def test_batch_first_is_followed() -> None:
    """ONNX Runtime computes no layout = 1, so only the analysis is looked at."""
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[1,7,3] x) => (float[1,7,2] y) {
          h = GRU <hidden_size = 4, layout = 1> (x, w, r)
          q = Squeeze (h, two)
          y = MatMul (q, k)
        }""",
        w=np.ones((1, 12, 3)),
        r=np.ones((1, 12, 4)),
        k=np.ones((4, 2)),
        two=np.array([2]),
    )

    channels = analyze(rp.Model(proto))

    assert channels.tensors["h"].shape == (1, 7, 1, 4)
    assert channels.groups[0].free.all()
    assert channels.groups[0].consumers == ("GRU_0", "MatMul_2")
    assert channels.layers[0].positions == 7


def test_the_case_of_a_recognizer() -> None:
    """Conv → LSTM → GRU → MatMul, with other sizes and names than the shared case."""
    rng = np.random.default_rng(5)

    def normal(*shape: int) -> NDArray[np.float64]:
        return rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))

    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        crnn (float[n,1,12,w] image) => (float[t,n,6] y) {
          f = Conv <pads = [1,1,1,1], strides = [3,1]> (image, w0)
          f1 = Relu (f)
          g = Conv <pads = [1,1,1,1], strides = [4,1]> (f1, w1)
          g1 = Relu (g)
          s = Squeeze (g1, two)
          t = Transpose <perm = [2,0,1]> (s)
          a = LSTM <hidden_size = 9, direction = "bidirectional"> (t, lw, lr, lb)
          b = Transpose <perm = [0,2,1,3]> (a)
          c = Reshape (b, to)
          d = GRU <hidden_size = 7> (c, gw, gr)
          e = Squeeze (d, one)
          y = MatMul (e, k)
        }""",
        w0=normal(10, 1, 3, 3),
        w1=normal(14, 10, 3, 3),
        two=np.array([2]),
        lw=normal(2, 36, 14),
        lr=normal(2, 36, 9),
        lb=normal(2, 72),
        to=np.array([0, 0, -1]),
        gw=normal(1, 21, 18),
        gr=normal(1, 21, 7),
        one=np.array([1]),
        k=normal(7, 6),
    )
    settings = rp.Settings(
        macs_reduction=0.5, allocation="uniform", input_shapes=(("image", (1, 1, 12, 30)),)
    )

    result = rp.prune(rp.Model(proto), settings)

    assert result.report["locked"] == [
        {"node": "output 'y'", "channels": 6, "reason": "the channels of graph output 'y' stay"}
    ]
    assert all(x["out_channels"][1] < x["out_channels"][0] for x in result.report["layers"][:-1])
    assert result.report["verification"]["passed"]


def stacked(n: int = 6, end: str = "") -> onnx.ModelProto:
    """Two GRUs whose first states are parts of one tensor of zeros, as PyTorch writes them."""
    rng = np.random.default_rng(8)
    return model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[5,batch,4] x) => (float[5,batch,3] y) {{
          s = Shape (x)
          b = Gather (s, one)
          b1 = Unsqueeze (b, zero)
          sizes = Concat <axis = 0> (two, b1, n)
          zeros = ConstantOfShape (sizes)
          first = Slice (zeros, zero, to_one, zero)
          second = Slice (zeros, to_one, two, zero)
          [low] h = GRU <hidden_size = {n}> (x, w0, r0, , , first)
          h1 = Squeeze (h, to_one)
          [high] g = GRU <hidden_size = {n}> (h1, w1, r1, , , second)
          g1 = Squeeze (g, to_one)
          y = MatMul (g1, k)
          {end}
        }}""",
        one=np.array(1),
        zero=np.array([0]),
        to_one=np.array([1]),
        two=np.array([2]),
        n=np.array([n]),
        w0=rng.standard_normal((1, 3 * n, 4)),
        r0=rng.standard_normal((1, 3 * n, n)) / n,
        w1=rng.standard_normal((1, 3 * n, n)) / 2,
        r1=rng.standard_normal((1, 3 * n, n)) / n,
        k=rng.standard_normal((n, 3)),
    )


@pytest.mark.parametrize(("n", "batch"), [(6, 2), (34, 64)])
def test_first_states_that_the_graph_fills_follow(n: int, batch: int) -> None:
    """Also where they are more numbers than are followed one by one."""
    settings = rp.Settings(sparsity=0.5, recover="none", input_shapes=(("x", (5, batch, 4)),))

    result = rp.prune(rp.Model(stacked(n)), settings)

    assert [x["out_channels"] for x in result.report["layers"]] == [[n, n // 2]] * 2 + [[3, 3]]
    assert array(result.model.proto, "n").tolist() == [n // 2]
    assert result.report["verification"]["passed"]
    rows = [array(result.model.proto, f"w{k}").shape[1] for k in (0, 1)]
    assert rows == [3 * (n // 2)] * 2  # the same slots of both: they have one number of units


def test_first_states_that_something_else_reads_stay() -> None:
    proto = stacked(end="out = Neg (zeros)")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("out", 1, [2, "batch", 6]))

    channels = analyze(rp.Model(proto))

    assert not any(g.free.any() for g in channels.groups)
    assert any("first state" in lock.reason for lock in channels.locks)
