"""Queries and keys have a loss too: what scores lose, and how allocation uses it."""

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.pruner.sensitivity.curves import Ways, measure_losses
from reprune_onnx.runtime.ort import Session

D = 5
RNG = np.random.default_rng(3)
WEIGHTS = {
    **{"w0": RNG.standard_normal((8, 3, 1, 1)), "w1": RNG.standard_normal((8, 4))},
    **{"wq": RNG.standard_normal((8, D)), "wk": RNG.standard_normal((8, D)) * [3, 1, 0.1, 2, 0.5]},
    "flat": np.array([0, 8, -1]),
}


def attention(end: str, keys: str = "Identity (k)") -> rp.Model:
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[n,3,4,4] x) => (float[] y) {{
        f = Conv (x, w0)  h = Relu (f)  r = Reshape (h, flat)  t = Transpose <perm = [0,2,1]> (r)
        q = MatMul (t, wq)  k = MatMul (t, wk)  kk = {keys}  kt = Transpose <perm = [0,2,1]> (kk)
        s = MatMul (q, kt)  {end}  y = MatMul (o, w1) }}"""
    return rp.Model(model(text, **WEIGHTS))


def images() -> Images:
    x = np.random.default_rng(0).standard_normal((400, 3, 4, 4)).astype(np.float32)
    return Images("random", tuple({"x": x[i : i + 16]} for i in range(0, 400, 16)), 400)


SOFTMAX = "p = Softmax <axis = -1> (s)  o = MatMul (p, t)"
SIGMOID = "p = Sigmoid (s)  o = MatMul (p, t)"


@pytest.mark.parametrize(("end", "level"), [(SOFTMAX, True), (SIGMOID, False)])
@pytest.mark.parametrize("turned", [False, True], ids=["combined", "chosen"])
def test_the_loss_of_keys_is_that_of_scores(end: str, level: bool, turned: bool) -> None:
    """Where something nonlinear makes them, queries are refitted to the keys that stay."""
    keys = "Sigmoid (k)" if turned else "Identity (k)"
    network = attention(end, keys)
    graph = graph_of(network)
    channels = channels_of(graph, rp.Scope(residual="prune", input_shapes={"x": (1, 3, 4, 4)}))
    (group,) = (g for g in channels.groups if g.n == D)
    data = images()

    losses = measure_losses(network, graph, channels, data, Ways())

    session = Session(network.proto, optimize=False, outputs=["q", "kk"])
    runs = [session.run(feeds) for feeds in data.batches]
    q, k = (np.concatenate([r[name] for r in runs]).astype(np.float64) for name in ("q", "kk"))
    if level:
        k = k - k.mean(axis=1, keepdims=True)
    q, k = q.reshape(-1, D), k.reshape(-1, D)
    order, errors = losses.order[group.id], losses.error[group.id]
    Q, K = q.T @ q, k.T @ k
    sigma = np.linalg.svd(np.linalg.cholesky(Q).T @ np.linalg.cholesky(K), compute_uv=False) ** 2
    for n in range(1, D):
        kept = k[:, order[:n]]
        rest = k - kept @ np.linalg.lstsq(kept, k, rcond=None)[0]
        lost = np.trace(Q @ (rest.T @ rest)) if turned else sigma[n:].sum()
        lost /= np.trace(Q @ K)
        np.testing.assert_allclose(errors[n] / errors[0], lost, rtol=0.02, atol=1e-3)


def test_queries_and_keys_go_where_losses_decide() -> None:
    """They have a curve like any layer's; before, they stayed whole."""
    settings = rp.Settings(
        sparsity=0.6, residual="prune", recover="none", calibration=images().batches[0]["x"]
    )
    result = rp.prune(attention(SOFTMAX), settings)
    shapes = {t.name: tuple(t.dims) for t in result.model.proto.graph.initializer}
    assert shapes["wq"][1] == shapes["wk"][1] < D
    assert not any("stay whole" in str(note) for note in result.report["notes"])
