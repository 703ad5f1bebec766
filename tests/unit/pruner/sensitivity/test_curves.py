"""Measured losses against an explicit refit on the activations that ONNX Runtime computes."""

from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations import sampling
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.joint import joint_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.errors import DataError
from reprune_onnx.pruner.select.auto import FAR
from reprune_onnx.pruner.sensitivity.curves import Ways, measure_losses
from reprune_onnx.pruner.sensitivity.elimination import _RIDGE
from reprune_onnx.pruner.sensitivity.readers import _LATE
from reprune_onnx.results import Losses
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import ChannelMap, Group

N = 240  # enough samples for each input of every layer here


@pytest.fixture(autouse=True)
def all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curves here are compared with refits on every position of every image."""
    monkeypatch.setattr(sampling, "_TO_COMPARE", (10**6, 10**6))


def network(body: str, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,6,6] x) => (float[] y) {{ {body} }}"""
    rng = np.random.default_rng(8)  # the same weights whatever ran before
    weights = {k: rng.standard_normal(s) / np.sqrt(np.prod(s[1:])) for k, s in shapes.items()}
    return onnx.shape_inference.infer_shapes(model(text, **weights))


def images(n: int = N) -> Images:
    x = np.random.default_rng(0).standard_normal((n, 3, 6, 6)).astype(np.float32)
    return Images("random", tuple({"x": x[k : k + 4]} for k in range(0, n, 4)), n)


def measured(
    proto: onnx.ModelProto, select_at: Any = None, n: int = N
) -> tuple[ChannelMap, Group, Losses]:
    scope = rp.Scope(residual="prune", input_shapes={"x": (1, 3, 6, 6)})
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, scope)
    groups = [g for g in channels.groups if g.free.any()]
    losses = measure_losses(
        rp.Model(proto), graph, channels, images(n), Ways(select_at, select_at is None)
    )
    return channels, groups[0], losses


def refitted(proto: onnx.ModelProto, channels: ChannelMap, layer: str, dropped: list[int]) -> float:
    """What the layer that makes tensor ``layer`` loses without these channels of its input.

    Relative to the variance of the tensor where it joins the rest, after a refit with an intercept.
    Behind a ReLU a channel counts by its share of positive values.
    """
    graph = graph_of(rp.Model(proto))
    op = graph.producer(layer)
    assert op is not None
    weight = graph.array(op.inputs[1])
    linear = Linear(op, weight.shape)
    joint = joint_of(graph, channels, linear)
    x = np.concatenate([b["x"] for b in images().batches])
    arrays = Session(proto, optimize=False, outputs=[op.inputs[0], joint.tensor]).run({"x": x})
    z = arrays[joint.tensor]
    at = np.arange(linear.positions(z))
    X = linear.inputs(arrays[op.inputs[0]], z.shape, at).astype(np.float64)
    W = linear.matrix(weight) * joint.scale.reshape(linear.groups, -1, 1)
    Z = linear.outputs(z, at).astype(np.float64)
    relu = any(reader.type == "Relu" for reader in graph.readers(joint.tensor))
    counts = (Z > 0).mean(axis=0) if relu else np.ones(Z.shape[1])
    taps = W.shape[2] // (arrays[op.inputs[0]].shape[1] // linear.groups)
    total = 0.0
    for g, (rows, w) in enumerate(zip(X, W, strict=True)):
        rows = rows - rows.mean(axis=0)  # noqa: PLW2901 - centred
        n, D = rows.shape
        more = np.sqrt(_RIDGE * (rows**2).sum() / D) * np.eye(D)
        A = np.vstack([rows, more])  # the ridge, as further samples
        first = g * D // taps
        gone = np.isin(np.arange(D) // taps + first, dropped)
        T = A @ w.T
        V = np.linalg.lstsq(A[:, ~gone], T, rcond=None)[0]
        squares = ((T - A[:, ~gone] @ V) ** 2).sum(axis=0)
        total += float(squares @ counts.reshape(linear.groups, -1)[g]) / n
    return total / float(Z.var(axis=0) @ counts)


LAYERS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "conv": (
        "a = Conv (x, w1)\n r = Relu (a)\n y = Conv <strides = [2,2]> (r, w2, b2)",
        {"w1": (6, 3, 1, 1), "w2": (4, 6, 3, 3), "b2": (4,)},
    ),
    "transposed": (
        "a = Conv (x, w1)\n r = Relu (a)\n y = ConvTranspose <strides = [2,2]> (r, w2)",
        {"w1": (6, 3, 1, 1), "w2": (6, 4, 2, 2)},
    ),
    "flattened": (
        "a = Conv <strides = [3,3]> (x, w1)\n r = Relu (a)\n f = Flatten (r)\n y = Gemm (f, w2)",
        {"w1": (6, 3, 1, 1), "w2": (24, 5)},
    ),
    "scaled": (
        """a = Conv (x, w1)
        r = Relu (a)
        c = Conv (r, w2)
        d = Mul (c, scale)
        z = Add (d, x)
        y = Relu (z)""",
        {"w1": (6, 3, 1, 1), "w2": (3, 6, 1, 1), "scale": (3, 1, 1)},
    ),
}


@pytest.mark.parametrize(("body", "shapes"), LAYERS.values(), ids=LAYERS)
def test_a_curve_is_what_a_refit_loses(body: str, shapes: dict[str, tuple[int, ...]]) -> None:
    proto = network(body, **shapes)
    channels, group, losses = measured(proto)
    tensor = "c" if "scale" in shapes else "y"
    order, error = losses.order[group.id], losses.error[group.id]
    taps = 4 if "Flatten" in body else 1  # values of a channel, which follow each other
    for k in range(1, 7):
        gone = [taps * i + t for i in order[k:] for t in range(taps)]
        expected = refitted(proto, channels, tensor, gone)
        assert error[k] == pytest.approx(expected, rel=5e-3, abs=1e-6)  # a slope has some width
    singles = [
        refitted(proto, channels, tensor, [taps * i + t for t in range(taps)]) for i in range(6)
    ]
    assert order[5] == np.argmin(singles)


@pytest.mark.parametrize(
    ("reader", "shape"),
    [("Conv <group = 2>", (6, 4, 3, 3)), ("ConvTranspose <group = 2>", (8, 3, 2, 2))],
)
def test_groups_of_a_layer_add_up_and_share_their_channels(
    reader: str, shape: tuple[int, ...]
) -> None:
    """In a grouped convolution the same place of every group goes."""
    body = f"a = Conv (x, w1)\n r = Relu (a)\n y = {reader} (r, w2)"
    proto = network(body, w1=(8, 3, 1, 1), w2=shape)
    channels, group, losses = measured(proto)
    assert group.n == 4
    for k in range(1, 5):
        gone = [i + half for i in losses.order[group.id][k:] for half in (0, 4)]
        expected = refitted(proto, channels, "y", gone)
        assert losses.error[group.id][k] == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_layers_that_read_the_same_channels_add_up_and_later_ones_count_more() -> None:
    proto = network(
        """a = Conv (x, w1)
        r = Relu (a)
        b = Conv (r, w2)
        c = Conv (r, w3)
        d = Concat <axis = 1> (b, c)
        y = Tanh (d)""",
        w1=(6, 3, 1, 1),
        w2=(4, 6, 1, 1),
        w3=(2, 6, 1, 1),
    )
    channels, group, losses = measured(proto)
    for k in range(1, 7):
        gone = losses.order[group.id][k:].tolist()
        first = refitted(proto, channels, "b", gone)
        last = refitted(proto, channels, "c", gone)
        expected = (first + _LATE * last) / 2  # each makes a half of what is put together
        assert losses.error[group.id][k] == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_another_criterion_is_measured_at_its_own_choices() -> None:
    body, shapes = LAYERS["conv"]
    proto = network(body, **{**shapes, "w1": (20, 3, 1, 1), "w2": (4, 20, 2, 2)})

    def first(g: Group, counts: Any) -> Any:
        return [np.arange(k) for k in counts]

    channels, group, losses = measured(proto, first)
    error = losses.error[group.id]
    assert losses.order == {}
    assert len(error) == 21
    assert error[20] == 0
    assert (np.diff(error) <= 1e-12).all()
    for k in np.unique(np.linspace(1, 20, 9).round().astype(int))[:-1]:
        expected = refitted(proto, channels, "y", list(range(k, 20)))
        assert error[k] == pytest.approx(expected, rel=5e-3, abs=1e-6)


def test_a_criterion_that_does_better_with_fewer_has_a_curve_that_never_rises() -> None:
    """With 10 channels and more it takes those that the reader hardly sees."""
    body, shapes = LAYERS["conv"]
    proto = network(body, **{**shapes, "w1": (20, 3, 1, 1), "w2": (4, 20, 2, 2)})
    for tensor in proto.graph.initializer:
        if tensor.name == "w2":
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[:, 10:] *= 0.01
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, "w2"))

    def odd(g: Group, counts: Any) -> Any:
        return [np.arange(20)[-k:] if k >= 10 else np.arange(k) for k in counts]

    channels, group, losses = measured(proto, odd)
    few = refitted(proto, channels, "y", list(range(8, 20)))
    many = refitted(proto, channels, "y", list(range(10)))
    assert few < many, "the choices are as they are meant to be"
    error = losses.error[group.id]
    assert (np.diff(error) <= 1e-12).all()
    assert error[1] >= many


def test_elimination_loses_no_more_than_another_choice() -> None:
    body, shapes = LAYERS["conv"]
    proto = network(body, **{**shapes, "w1": (20, 3, 1, 1), "w2": (4, 20, 3, 3)})
    _, group, best = measured(proto)
    _, _, other = measured(proto, lambda g, ks: [np.arange(k) for k in ks])
    assert (best.error[group.id][1:] <= other.error[group.id][1:] + 1e-9).all()


@pytest.mark.parametrize("worst", [True, False])
def test_of_both_ways_the_criterion_counts_unless_it_loses_far_more(worst: bool) -> None:
    body, shapes = LAYERS["conv"]
    proto = network(body, **{**shapes, "w1": (20, 3, 1, 1), "w2": (4, 20, 3, 3)})
    channels, group, best = measured(proto)
    order = best.order[group.id][::-1] if worst else best.order[group.id]
    graph = graph_of(rp.Model(proto))
    ways = Ways(lambda g, counts: [np.sort(order[:k]) for k in counts])
    both = measure_losses(rp.Model(proto), graph, channels, images(), ways)
    at = [3, 6, 10, 15]  # of numbers that are measured
    error = both.error[group.id][at]
    for k in at:
        known = both.order_at(group.id, k)
        assert (known is not None) == both.eliminated[group.id][k]
        assert known is None or known.tolist() == best.order[group.id].tolist()
    assert (both.order_at(group.id, 15) is not None) == worst
    assert (error <= FAR * best.error[group.id][at] + 1e-9).all()
    assert (error >= best.error[group.id][at] * (1 - 1e-6)).all()


def test_a_group_that_no_layer_reads_has_no_curve() -> None:
    proto = network("a = Conv (x, w1)\n r = Relu (a)\n y = GlobalMaxPool (r)", w1=(6, 3, 1, 1))
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope(input_shapes={"x": (1, 3, 6, 6)}))
    losses = measure_losses(rp.Model(proto), graph, channels, images(), Ways())
    assert losses.error == {}


def test_values_that_overflow_inside_the_network() -> None:
    proto = network(
        "a = Conv (x, w1)\n e = Exp (a)\n f = Exp (e)\n h = Exp (f)\n y = Conv (h, w2)",
        w1=(6, 3, 3, 3),
        w2=(4, 6, 1, 1),
    )
    for tensor in proto.graph.initializer:
        if tensor.name == "w1":
            array = onnx.numpy_helper.to_array(tensor) * 10
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, "w1"))
    with pytest.raises(DataError, match="not finite at Conv"):
        measured(proto)


def test_too_few_images_are_refused() -> None:
    body, shapes = LAYERS["conv"]
    proto = network(body, **shapes)
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope(input_shapes={"x": (1, 3, 6, 6)}))
    with pytest.raises(DataError, match="at least 8"):
        measure_losses(rp.Model(proto), graph, channels, images(4), Ways())


def test_channels_are_not_free_where_there_are_fewer_images_than_channels() -> None:
    """Behind a global pooling an image is one sample: 24 make any 64 channels look dependent."""
    proto = network(
        """a = Conv (x, w1)
        r = Relu (a)
        p = GlobalAveragePool (r)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, w2)""",
        w1=(64, 3, 6, 6),
        w2=(10, 64),
    )
    _, group, many = measured(proto, n=6400)
    _, _, few = measured(proto, n=24)
    half, true = few.error[group.id][32], many.error[group.id][32]
    assert half == pytest.approx(true, rel=0.5)


def test_what_an_activation_flattens_counts_little():
    """Channels 0 to 2 are all that makes a large output, which a SiLU is flat for."""
    body = """
        a = Conv (x, w1)
        r = Relu (a)
        c = Conv (r, w2, b2)
        s = Sigmoid (c)
        m = Mul (c, s)
        y = Conv (m, w3)"""
    w2 = np.zeros((2, 6, 1, 1))
    w2[0, :3], w2[1, 3:] = 5.0, 0.5
    rng = np.random.default_rng(8)
    weights = {
        "w1": rng.standard_normal((6, 3, 1, 1)),
        "w2": w2,
        "b2": np.array([-99.0, 0.0]),
        "w3": rng.standard_normal((4, 2, 1, 1)),
    }
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,6,6] x) => (float[] y) {{ {body} }}"""
    _, group, losses = measured(onnx.shape_inference.infer_shapes(model(text, **weights)))
    order = losses.order[group.id]
    assert set(order[3:]) == {0, 1, 2}, "they go first"
    assert losses.error[group.id][3] < 1e-3 * losses.error[group.id][0]
