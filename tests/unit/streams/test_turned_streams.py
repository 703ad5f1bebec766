"""Streams in another basis: which may be turned, that nothing changes, and that less is lost."""

from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.gram import of_matrix
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import SelectionError, VerificationError
from reprune_onnx.pruner.sensitivity.basis import basis_of, turned_reader
from reprune_onnx.pruner.sensitivity.elimination import Reader, eliminate
from reprune_onnx.recovery.values import with_values
from reprune_onnx.runtime.ort import Session
from reprune_onnx.streams.find import Stream, linear_streams
from reprune_onnx.streams.turn import turned
from reprune_onnx.verification.turned import check_turned

WIDTH = 6  # of the stream
RNG = np.random.default_rng(5)


def normal(*shape: int) -> Any:
    return RNG.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))


def network(body: str, weights: dict[str, Any], output: str = "float[] y") -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,8,8] x) => ({output}) {{ {body} }}"""
    used = {name: value for name, value in weights.items() if name in body}
    return onnx.shape_inference.infer_shapes(model(text, **used))


# Two blocks: h is wide and positive; s is the stream that linear layers write.
BODY = """
    h1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
    r1 = Relu (h1)
    s1 = {writer}
    h2 = Conv (s1, w3, b3)
    r2 = Clip (h2, zero, six)
    c2 = Conv (r2, w4)
    p2 = BatchNormalization (c2, g4, b4, m4, v4)
    s2 = Add (s1, p2)
    {reader}
"""
WEIGHTS = {
    **{"w1": normal(16, 3, 3, 3), "b1": normal(16), "w2": normal(WIDTH, 16, 1, 1)},
    **{"wt": normal(16, WIDTH, 3, 3), "b2": normal(WIDTH), "zero": np.array(0.0)},
    **{"w3": normal(24, WIDTH, 1, 1), "b3": normal(24), "six": np.array(6.0)},
    **{"w4": normal(WIDTH, 24, 1, 1), "g4": 1 + normal(WIDTH), "b4": normal(WIDTH)},
    **{"m4": normal(WIDTH), "v4": 0.5 + normal(WIDTH) ** 2, "w5": normal(5, WIDTH, 3, 3)},
    **{"wg": normal(5, WIDTH), "bg": normal(5), "wm": normal(WIDTH, 5), "one": normal(1)},
    **{"wd": normal(WIDTH, 1, 3, 3), "wd5": normal(5, WIDTH, 1, 1)},
}
WRITER = "Conv (r1, w2, b2)"
READER = "y = Conv <pads = [1,1,1,1]> (s2, w5)"
POOLED = "a = GlobalAveragePool (s2)\n f = Flatten (a)\n"
FREE = {
    "3×3 behind": (WRITER, READER),
    "transposed before": (
        "ConvTranspose <strides = [1,1], pads = [1,1,1,1]> (r1, wt, b2)",
        "y = Conv (s2, wd5)",
    ),
    "by way of an Identity and a mean over places": (
        WRITER,
        "i = Identity (s2)\n a = AveragePool <kernel_shape = [2,2]> (i)\n y = Conv (a, wd5)",
    ),
}
NOT_FREE = {
    "an activation reads it": f"q = Relu (s2)\n {READER.replace('s2', 'q')}",
    "a depthwise Conv reads it": f"q = Conv <group = {WIDTH}> (s2, wd)\n"
    f" {READER.replace('s2', 'q')}",
    "on one side only": f"{READER.replace('y', 'z')}\n q = Relu (s1)\n k = Conv (q, w5)\n"
    " y = Concat <axis = 1> (k, k)",
    "its numbers move": f"{POOLED} y = Gemm <transB = 1> (f, wg, bg)",
    "it is scaled": f"q = Mul (s2, one)\n {READER.replace('s2', 'q')}",
}


def streams(proto: onnx.ModelProto) -> tuple[Graph, dict[int, Stream]]:
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope("prune", input_shapes={"x": (1, 3, 8, 8)}))
    return graph, linear_streams(graph, channels)


def images(n: int = 4, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((n, 3, 8, 8)).astype(np.float32)


def outputs(proto: onnx.ModelProto, x: Any) -> Any:
    return Session(proto, optimize=False).run({"x": x})["y"].astype(np.float64)


@pytest.mark.parametrize(("writer", "reader"), FREE.values(), ids=FREE)
def test_another_basis_computes_the_same(writer: str, reader: str) -> None:
    proto = network(BODY.format(writer=writer, reader=reader), WEIGHTS)
    graph, found = streams(proto)
    (stream,) = found.values()
    assert stream.n == WIDTH
    assert len(stream.writers) == len(stream.readers) == 2
    made = turned(graph, [(stream, np.random.default_rng(1).standard_normal((WIDTH, WIDTH)))])
    assert [t.name for t in made.proto.graph.initializer] == [
        t.name for t in proto.graph.initializer
    ]
    x = images()
    expected = outputs(proto, x)
    assert np.abs(outputs(made.proto, x) - expected).max() < 1e-4 * np.abs(expected).max()
    assert 0 < check_turned(graph, Graph(made), [{"x": x}]) < 1e-4
    (norm,) = (n for n in made.proto.graph.node if n.op_type == "BatchNormalization")
    gamma, _, mean, variance = (Graph(made).array(name) for name in norm.input[1:5])
    assert np.allclose(gamma, np.sqrt(variance + 1e-5))
    assert not mean.any()


@pytest.mark.parametrize("reader", NOT_FREE.values(), ids=NOT_FREE)
def test_what_else_reads_a_stream_keeps_its_basis(reader: str) -> None:
    _, found = streams(network(BODY.format(writer=WRITER, reader=reader), WEIGHTS))
    assert not [s for s in found.values() if s.n == WIDTH]


def test_a_stream_that_is_given_out_keeps_its_basis() -> None:
    body = BODY.format(writer=WRITER, reader=READER)
    assert streams(network(body, WEIGHTS))[1]
    assert not streams(network(body, WEIGHTS, "float[] y, float[] s1"))[1]


def test_a_weight_that_two_layers_read_keeps_its_basis() -> None:
    body = BODY.format(writer=WRITER, reader=f"{READER}\n z = Conv (x, w1)")
    shared = body.replace("Conv (s1, w3, b3)", "Conv (s1, w3, b3)\n k = Conv (s1, w3)")
    assert streams(network(body, WEIGHTS))[1]
    assert not streams(network(shared, WEIGHTS))[1]


def test_a_wrong_value_is_seen() -> None:
    graph, found = streams(network(BODY.format(writer=WRITER, reader=READER), WEIGHTS))
    made = turned(graph, [(s, np.eye(WIDTH)[::-1]) for s in found.values()])
    wrong = with_values(made, {"w5": WEIGHTS["w5"]})
    with pytest.raises(VerificationError, match="in another basis the model's outputs differ"):
        check_turned(graph, Graph(wrong), [{"x": images()}])


@pytest.mark.parametrize("taps", [1, 4])
def test_axes_of_the_basis_lose_less_than_channels(taps: int) -> None:
    rng = np.random.default_rng(taps)
    n = 12
    mix = rng.standard_normal((n * taps, 5 * taps))  # inputs of few causes
    G = mix @ mix.T + 0.1 * np.eye(n * taps)
    inputs = tuple(np.arange(taps) + taps * i for i in range(n))
    readers = [Reader(rng.standard_normal((9, n * taps)), of_matrix(G), inputs) for _ in range(2)]
    fixed = np.zeros(n, dtype=np.bool_)
    A = basis_of(readers, n)
    channels, axes = (
        eliminate(own, fixed).error for own in (readers, [turned_reader(r, A) for r in readers])
    )
    assert np.isclose(axes[0], channels[0], rtol=1e-2)  # without any, all is lost in either basis
    assert (axes[2:-2] <= channels[2:-2] * 1.01).all()
    assert axes[6] < 0.8 * channels[6]


def test_with_one_reader_the_loss_is_that_of_the_last_eigenvalues() -> None:
    rng = np.random.default_rng(3)
    n = 8
    mix = rng.standard_normal((n, n))
    W, G = rng.standard_normal((20, n)), mix @ mix.T
    inputs = tuple(np.array([i]) for i in range(n))
    reader = Reader(W, of_matrix(G), inputs)
    axes = eliminate([turned_reader(reader, basis_of([reader], n))], np.zeros(n, dtype=np.bool_))
    values = np.sort(np.linalg.eigvals(W.T @ W @ G).real)
    lost = np.concatenate([[0.0], np.cumsum(values)])[::-1]
    assert np.allclose(axes.error, lost, atol=0.02 * lost[0])


# ── the whole way ───────────────────────────────────────────────────────────────────────────────


def settings(**options: Any) -> rp.Settings:
    how: dict[str, Any] = {"sparsity": 0.4, "residual": "prune"}
    return rp.Settings(**how | {"calibration": images(64, 7)} | options)


def three_directions() -> onnx.ModelProto:
    """A network whose layers read three directions of a stream of six channels."""
    read = np.random.default_rng(9).standard_normal((3, WIDTH))
    weights = {**WEIGHTS, "w3": np.einsum("mrhw,ri->mihw", normal(24, 3, 1, 1), read)}
    weights["w5"] = np.einsum("mrhw,ri->mihw", normal(5, 3, 3, 3), read)
    return network(BODY.format(writer=WRITER, reader=READER), weights)


@pytest.mark.parametrize("method", ["reconstruction", "reprune"])
def test_axes_go_where_channels_could_not(method: Any) -> None:
    proto = three_directions()
    x = images(64, 11)
    expected = outputs(proto, x)
    errors = {}
    for basis in ("auto", "file"):
        layers = {"layer": (("Conv_2", 3),), "sparsity": 0.0}
        pruned = rp.prune(proto, settings(method=method, basis=basis, **layers))
        kept = {row["node"]: row["out_channels"] for row in pruned.report["layers"]}
        assert kept["Conv_2"] == [WIDTH, 3]
        assert pruned.report["verification"] is not None
        assert pruned.report["verification"]["passed"]
        errors[basis] = ((outputs(pruned.model.proto, x) - expected) ** 2).mean() / expected.var()
        rows = pruned.report["turned"]
        if basis == "auto":
            (row,) = rows
            assert row["axes"] == [WIDTH, 3]
            assert (row["written_by"], row["read_by"]) == (
                ["Conv_2", "Conv_5"],
                ["Conv_3", "Conv_8"],
            )
            (note,) = (n for n in pruned.report["notes"] if "lost axes of another basis" in n)
            assert "--basis file" in note
        else:
            assert not rows
    assert errors["auto"] < 1e-3
    assert errors["auto"] < 0.01 * errors["file"]


def test_a_stream_that_loses_nothing_is_not_turned() -> None:
    proto = network(BODY.format(writer=WRITER, reader=READER), WEIGHTS)
    pruned = rp.prune(proto, settings(sparsity=0.0, layer=(("Conv_0", 12),)))
    assert pruned.report["cuts"]
    assert pruned.report["turned"] == []


def test_a_report_of_turned_streams_is_not_applied_to_the_file() -> None:
    proto = three_directions()
    pruned = rp.prune(proto, settings(sparsity=0.0, layer=(("Conv_2", 3),)))
    report = pruned.report
    with pytest.raises(SelectionError, match="cut axes of another basis"):
        rp.prune(proto, rp.Settings(keep=report, residual="prune"))
    with pytest.raises(SelectionError, match="cut axes of another basis"):
        rp.recover(proto, pruned.model, rp.Settings(keep=report, residual="prune"))
    assert rp.verify(rp.Model(proto), pruned.model, report).changed > 0
