"""Queries and keys that lost channels: what a rank allows is kept, and nothing else is touched."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from cut_networks import error, images, network, normal, prune

import reprune_onnx as rp
from reprune_onnx.activations.low_rank import low_rank
from reprune_onnx.activations.makers import Network
from reprune_onnx.activations.scores import score_makers, scores_of
from reprune_onnx.activations.values import values_of
from reprune_onnx.recovery import combined as combining

D, RANK = 6, 3  # channels of queries and keys, of which so many would do
DROPPED = [1, 4, 5]
START = "f = Conv <pads = [1,1,1,1]> (x, w0, b0)\n h = Relu (f)\n"
ROWS = START + "r = Reshape (h, flat)\n t = Transpose <perm = [0,2,1]> (r)\n"
SCORES = "kt = Transpose <perm = [0,2,1]> (kk)\n s = MatMul (qq, kt)\n"
END = "p = Softmax <axis = -1> (s)\n o = MatMul (p, t)\n y = MatMul (o, w1)"
FLAT = {"flat": np.array([0, 8, -1])}


def low(n_in: int = 8, seed: int = 0, n: int = D) -> Any:
    """(n_in, n) of rank RANK."""
    return normal(n_in, RANK, seed=seed) @ (normal(RANK, n, seed=seed + 1) * np.sqrt(n))


def repeated(n_in: int = 8) -> Any:
    return normal(n_in, RANK)[:, [0, 0, 1, 2, 2, 1]] * np.array([1, -2, 1, 1, 0.5, 3])


BIASES = {"qb": normal(8) @ low(), "kb": normal(8) @ low(seed=3)}  # of the same rank
LAYERS = "q = MatMul (t, wq)\n k = MatMul (t, wk)\n"
BOTH = {"wq": low(), "wk": low(seed=3)}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "a layer each": (
        ROWS + LAYERS + "qa = Add (q, qb)\n ka = Add (kb, k)\n qq = Mul (qa, half)\n"
        "kk = Identity (ka)\n" + SCORES + END,
        BOTH | BIASES | {"half": np.array(0.5)},
    ),
    "scores that are scaled, and shifted by a bias of places": (
        ROWS + LAYERS + "qq = Identity (q)\n kk = Identity (k)\n"
        "kt = Transpose <perm = [0,2,1]> (kk)\n s = MatMul (qq, kt)\n c = Div (s, two)\n"
        "e = Add (c, places)\n p = Softmax <axis = 2> (e)\n o = MatMul (p, t)\n y = MatMul (o, w1)",
        BOTH | {"two": np.array(2.0), "places": normal(64, 64)},
    ),
    "Einsum": (
        ROWS + LAYERS + 's = Einsum <equation = "bic,bjc->bij"> (q, k)\n' + END,
        BOTH,
    ),
    "convolutions with BatchNormalization": (
        START
        + "".join(
            f"{x} = Conv (h, w{x})\n {x}n = BatchNormalization ({x}, g, b, m, v)\n"
            f"{x}r = Reshape ({x}n, small)\n"
            for x in "qk"
        )
        + "qq = Transpose <perm = [0,2,1]> (qr)\n s = MatMul (qq, kr)\n r = Reshape (h, flat)\n"
        "t = Transpose <perm = [0,2,1]> (r)\n" + END,
        {
            "wq": low().T[:, :, None, None],
            "wk": low(seed=3).T[:, :, None, None],
            **{"g": np.full(D, 2.0), "b": np.zeros(D), "m": np.zeros(D), "v": np.full(D, 3.0)},
            "small": np.array([0, D, -1]),
        },
    ),
    "queries as they are before keys that are not": (
        ROWS + LAYERS + "qq = Identity (q)\n kk = Relu (k)\n" + SCORES + END,
        {"wq": normal(8, D), "wk": np.abs(repeated())},
    ),
    "keys as they are behind queries that are not": (
        ROWS + LAYERS + "qq = Relu (q)\n kk = Identity (k)\n" + SCORES + END,
        {"wq": np.abs(repeated()), "wk": normal(8, D)},
    ),
}


def made(body: str, weights: dict[str, Any]) -> Any:
    start = {"w0": normal(8, 3, 3, 3), "b0": normal(8), "w1": normal(8, 5), **FLAT}
    every = {**start, **weights}
    return network(body, {name: array for name, array in every.items() if name in body})


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_low_rank_are_kept_exactly(kind: str) -> None:
    """Which channels went does not matter, where all of them can be combined."""
    pruned = prune(made(*KINDS[kind]), q=DROPPED)

    repaired = pruned.recover(data=images())

    near = partial(error, pruned.original, data=images(seed=1), name="p")
    assert near(repaired.model) < 1e-4 < 1e-2 < near(pruned.model)
    assert repaired.layers == (2 if "that are not" in kind else 3)  # and what reads the values


def test_one_layer_makes_all_three() -> None:
    """Values lose the same channels, and are combined for the layer that reads them."""
    body = (
        ROWS + "m = MatMul (t, wm)\n a = Add (m, bm)\n i = Reshape (a, parts)\n"
        "u = Transpose <perm = [2,0,1,3]> (i)\n qs, ks, vs = Split <axis = 0> (u, ones)\n"
        + "".join(f"{x} = Squeeze ({x}s, first)\n" for x in "qkv")
        + "kt = Transpose <perm = [0,2,1]> (k)\n s = MatMul (q, kt)\n"
        "p = Softmax <axis = -1> (s)\n o = MatMul (p, v)\n"
        "y = MatMul (o, w1)"
    )
    weights = {
        "wm": np.concatenate([low(), low(seed=3), low(seed=7)], axis=1),
        "bm": np.concatenate([*BIASES.values(), normal(8) @ low(seed=7)]),
        "w1": normal(D, 5),
        **{"parts": np.array([0, 0, 3, D]), "ones": np.array([1, 1, 1]), "first": np.array([0])},
    }
    pruned = prune(made(body, weights), m=DROPPED)

    repaired = pruned.recover(data=images())

    near = partial(error, pruned.original, data=images(seed=1), name="p")
    assert near(repaired.model) < 1e-4 < 1e-2 < near(pruned.model)
    near = partial(error, pruned.original, data=images(seed=1))
    assert near(repaired.model) < 1e-4 < 1e-2 < near(pruned.model)


HEADS = 3
SEVERAL = (
    ROWS
    + "".join(
        f"{x} = MatMul (t, w{x})\n {x}4 = Reshape ({x}, apart)\n"
        f"{x}h = Transpose <perm = [0,2,1,3]> ({x}4)\n"
        for x in "qkv"
    )
    + "kt = Transpose <perm = [0,1,3,2]> (kh)\n s = MatMul (qh, kt)\n"
    "p = Softmax <axis = -1> (s)\n o = MatMul (p, vh)\n u = Transpose <perm = [0,2,1,3]> (o)\n"
    "j = Reshape (u, joined)\n"
)


def of_heads(seed: int) -> Any:
    return np.concatenate([low(seed=seed + h) for h in range(HEADS)], axis=1)


def several(end: str = "y = MatMul (j, w1)") -> Any:
    weights = {
        **{f"w{x}": of_heads(seed) for x, seed in zip("qkv", (0, 10, 20), strict=True)},
        "w1": normal(HEADS * D, 5),
        **{"apart": np.array([0, 0, HEADS, D]), "joined": np.array([0, 0, HEADS * D])},
    }
    return made(SEVERAL + end, weights)


def test_the_channels_of_each_head_are_combined_by_themselves() -> None:
    pruned = prune(several(), q=DROPPED, v=DROPPED)

    repaired = pruned.recover(data=images())

    near = partial(error, pruned.original, data=images(seed=1))
    assert near(repaired.model) < 1e-4 < 1e-2 < near(pruned.model)
    assert repaired.layers == 4


def test_values_that_are_read_elsewhere_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a convolution of them is added."""
    end = "e = Sigmoid (v)\n g = Add (j, e)\n y = MatMul (g, w1)"
    steps: list[Any] = []
    whole = combining.combined
    monkeypatch.setattr(combining, "combined", lambda work: steps.extend(whole(work)) or steps)

    prune(several(end), v=DROPPED).recover(data=images())

    assert steps and all(step.mix is None for step in steps)


def test_what_lies_where_no_run_shows_it_is_not_combined() -> None:
    """As in the body of an If of which the branches do not all run on the images."""
    pruned = prune(several(), q=DROPPED, v=DROPPED)
    elsewhere = rp.Model(network("y = Relu (x)", {}))
    seen = Network(elsewhere, pruned.graph, pruned.channels, images().batches[0])
    (scores,) = scores_of(pruned.graph, pruned.channels)
    (reader,) = (
        x.node for x in pruned.channels.layers if pruned.graph.ops[x.node].inputs[0] == "j"
    )

    assert score_makers(seen, scores) == (None, None)
    assert values_of(seen, reader) is None
    whole = Network(pruned.original, pruned.graph, pruned.channels, images().batches[0])
    assert None not in score_makers(whole, scores) and values_of(whole, reader) is not None


UNTOUCHED = {
    "both behind something nonlinear": ("qq = Relu (q)", "kk = Sigmoid (k)"),
    "read elsewhere": ("qq = Identity (q)", "kk = Identity (k)\n e = Relu (k)\n g = Sigmoid (q)"),
    "one and the same": ("qq = Identity (q)", "kk = Identity (q)"),
}


@pytest.mark.parametrize("kind", UNTOUCHED)
def test_channels_that_more_depends_on_stay_what_they_are(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = ROWS + LAYERS + "\n".join(UNTOUCHED[kind]) + "\n" + SCORES + END
    if kind == "read elsewhere":
        body = (
            body.replace("y =", "l =")
            + "\n n = ReduceMean <axes = [2]> (e)\n"
            + ("j = ReduceMean <axes = [2]> (g)\n i = Add (n, j)\n y = Add (l, i)")
        )
    pruned = prune(made(body, BOTH), q=DROPPED)
    steps: list[Any] = []
    whole = combining.combined
    monkeypatch.setattr(combining, "combined", lambda work: steps.extend(whole(work)) or steps)

    pruned.recover(data=images())

    assert steps and all(step.mix is None for step in steps)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_attention_in_one_node_is_refitted_to_the_inputs_that_stay(bias: bool) -> None:
    """Half of the channels that it reads are combinations of the others: nothing is lost."""
    w0 = normal(8, 3, 3, 3)
    w0[4:] = (normal(4, 4, seed=2) @ w0[:4].reshape(4, -1)).reshape(4, 3, 3, 3)
    body = (
        "f = Conv <pads = [1,1,1,1]> (x, w0)\n r = Reshape (f, flat)\n"
        "t = Transpose <perm = [0,2,1]> (r)\n"
        f"o = com.microsoft.Attention <num_heads = 2> (t, wm, {'bm' if bias else 'none'})\n"
        "y = MatMul (o, w1)"
    )
    weights = {"w0": w0, "wm": normal(8, 24), "w1": normal(8, 5), **FLAT}
    weights["bm" if bias else "none"] = normal(24) if bias else np.zeros(24)
    proto = network(body, weights, domains='"com.microsoft": 1')
    pruned = prune(proto, f=[4, 5, 6, 7])

    repaired = pruned.recover(data=images())

    near = partial(error, pruned.original, data=images(seed=1))
    assert near(repaired.model) < 1e-4 < 1e-2 < near(pruned.model)
    assert repaired.layers == 2


def test_the_best_combinations_of_a_rank() -> None:
    """No other P and Q of the rank do better: the loss is that of the singular values left out."""
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((500, D)) @ rng.standard_normal((D, D)) for _ in "qk")
    G, H = q.T @ q / 500, k.T @ k / 500
    scores_of_all = q @ k.T

    for n in range(1, D + 1):
        P, Q = low_rank(G, H, n)
        lost = ((scores_of_all - (q @ P.T) @ (k @ Q.T).T) ** 2).mean()
        A, B = (np.linalg.cholesky(M).T for M in (G, H))
        left_out = np.linalg.svd(A @ B.T, compute_uv=False)[n:]
        np.testing.assert_allclose(lost, (left_out**2).sum(), rtol=1e-6, atol=1e-9)


def test_a_moment_that_is_not_of_full_rank() -> None:
    q = np.random.default_rng(0).standard_normal((50, 2)) @ np.ones((2, D))
    P, Q = low_rank(q.T @ q, np.eye(D), 2)
    assert np.isfinite(P).all() and np.isfinite(Q).all()
    np.testing.assert_allclose(q @ P.T @ Q, q, atol=1e-6)
