"""Least squares: exact where the dropped channels are combinations of kept ones."""

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from cut_networks import error, images, network, normal, outputs, prune, values

from reprune_onnx.activations.joint import joint_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import DataError
from reprune_onnx.recovery import least_squares, plan

DUPLICATED = [0, 1, 2, 0, 1, 3, 4, 2]  # channels 3, 4 and 7 repeat 0, 1 and 2
DROPPED = [3, 4, 7]


def repeated(*shape: int, seed: int = 1) -> Any:
    return normal(*shape, seed=seed)[DUPLICATED]


FIRST = "a = Conv <pads = [1,1,1,1]> (x, w1, b1)\n r = Relu (a)"
W1 = {"w1": repeated(8, 3, 3, 3), "b1": repeated(8)}
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "1×1": ("y = Conv (r, w2, b2)", {"w2": normal(5, 8, 1, 1), "b2": normal(5)}),
    "without a bias": ("y = Conv (r, w2)", {"w2": normal(5, 8, 1, 1)}),
    "3×3": ("y = Conv <pads = [1,1,1,1]> (r, w2)", {"w2": normal(5, 8, 3, 3)}),
    "strided": (
        "y = Conv <strides = [2,2], pads = [1,1,0,0]> (r, w2)",
        {"w2": normal(5, 8, 3, 3)},
    ),
    "dilated": (
        "y = Conv <dilations = [2,1], pads = [0,1,2,0]> (r, w2)",
        {"w2": normal(5, 8, 2, 2)},
    ),
    "transposed": (
        "y = ConvTranspose <strides = [2,2], output_shape = [15,15]> (r, w2, b2)",
        {"w2": normal(8, 5, 3, 3), "b2": normal(5)},
    ),
    "pooled and Gemm": (
        "p = AveragePool <kernel_shape = [4,4], strides = [4,4]> (r)\n f = Flatten (p)\n"
        "y = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (f, w2, b2)",
        {"w2": normal(5, 32), "b2": normal(5)},
    ),
    "MatMul": (
        "t = Transpose <perm = [0,2,3,1]> (r)\n m = MatMul (t, w2)\n y = Add (m, b2)",
        {"w2": normal(8, 5), "b2": normal(5)},
    ),
    "with batch norm": (
        "c = Conv (r, w2)\n n = BatchNormalization (c, g2, b2, m2, v2)\n y = Relu (n)",
        {
            **{"w2": normal(5, 8, 1, 1), "g2": np.array([1.0, -2.0, 0.5, 0.0, 1.5])},
            **{"b2": normal(5), "m2": normal(5), "v2": np.array([1.0, 0.5, 2.0, 1.0, 3.0])},
        },
    ),
    "into a shortcut": (
        "c = Conv (r, w2)\n d = Mul (c, s)\n z = Add (d, x)\n y = Clip (z, low, high)",
        {"w2": normal(3, 8, 1, 1), "s": np.array(0.5), "low": np.array(0.0), "high": np.array(6.0)},
    ),
}


@pytest.mark.parametrize(("body", "weights"), READERS.values(), ids=READERS)
def test_repeated_channels_go_for_nothing(body: str, weights: dict[str, Any]) -> None:
    pruned = prune(network(f"{FIRST}\n{body}", {**W1, **weights}), a=DROPPED)
    data, other = images(), images(seed=9)
    before = error(pruned.original, pruned.model, other)
    assert before > 1e-3
    recovered = pruned.recover(data=data)
    assert error(pruned.original, recovered.model, other) < 1e-7
    assert (recovered.method, recovered.samples, recovered.layers) == ("least-squares", 64, 1)
    assert recovered.error_before is not None
    assert recovered.error_before > 1e-3
    assert recovered.error_after is not None
    assert recovered.error_after < 1e-7


GROUPED = [0, 1, 2, 0, 3, 4, 5, 3]  # in both groups the last channel repeats the first


@pytest.mark.parametrize(
    ("reader", "shape"),
    [
        ("Conv <group = 2, pads = [1,1,1,1]> (r, w2)", (6, 4, 3, 3)),
        ("ConvTranspose <group = 2, strides = [2,2]> (r, w2)", (8, 3, 2, 2)),
    ],
)
def test_channels_repeated_within_each_group(reader: str, shape: tuple[int, ...]) -> None:
    weights = {"w1": normal(8, 3, 3, 3)[GROUPED], "b1": normal(8)[GROUPED], "w2": normal(*shape)}
    pruned = prune(network(f"{FIRST}\ny = {reader}", weights), a=[3, 7])
    recovered = pruned.recover(data=images())
    other = images(seed=9)
    assert error(pruned.original, pruned.model, other) > 1e-3
    assert error(pruned.original, recovered.model, other) < 1e-7


def test_channels_that_pass_a_depthwise_layer() -> None:
    body = f"""{FIRST}
      d = Conv <group = 8, pads = [1,1,1,1]> (r, w2)
      e = Relu (d)
      y = Conv (e, w3)"""
    weights = {**W1, "w2": repeated(8, 1, 3, 3, seed=2), "w3": normal(5, 8, 1, 1)}
    pruned = prune(network(body, weights), a=DROPPED)
    recovered = pruned.recover(data=images())
    assert recovered.layers == 1, "the depthwise layer sees what it saw before"
    other = images(seed=9)
    assert error(pruned.original, pruned.model, other) > 1e-3
    assert error(pruned.original, recovered.model, other) < 1e-7


def test_a_channel_that_is_a_combination_of_others() -> None:
    w1, b1 = normal(6, 3, 3, 3), normal(6)
    mix = np.array([0.5, -1.0, 2.0, 0.3, -0.7])
    w1[5], b1[5] = np.tensordot(mix, w1[:5], 1), mix @ b1[:5] + 1.5
    body = "a = Conv (x, w1, b1)\n y = Conv <pads = [1,1,1,1]> (a, w2, b2)"
    data = images()
    weights = {"w1": w1, "b1": b1, "w2": normal(4, 6, 1, 1), "b2": normal(4)}
    pruned = prune(network(body.replace("1,1,1,1", "0,0,0,0"), weights), a=[5])
    recovered = pruned.recover(data=data)
    assert error(pruned.original, pruned.model, images(seed=9)) > 1e-3
    assert error(pruned.original, recovered.model, images(seed=9)) < 1e-7


RESIDUAL = """a = Conv <pads = [1,1,1,1]> (x, w1, b1)
  r = Relu (a)
  b = Conv <pads = [1,1,1,1]> (r, w2, b2)
  c = Add (b, s)
  d = Relu (c)
  e = Conv <pads = [1,1,1,1]> (d, w3)
  f = BatchNormalization (e, g3, b3, m3, v3)
  g = Relu (f)
  h = Conv <pads = [1,1,1,1]> (g, w4, b4)
  i = Add (d, h)
  j = Relu (i)
  k = GlobalAveragePool (j)
  l = Flatten (k)
  y = Gemm <transB = 1> (l, w5, b5)"""


def residual(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    weights = {
        **{"w0": normal(8, 3, 1, 1, seed=seed), "w1": normal(12, 3, 3, 3, seed=seed)},
        **{"w2": normal(8, 12, 3, 3, seed=seed), "w3": normal(12, 8, 3, 3, seed=seed)},
        **{"w4": normal(8, 12, 3, 3, seed=seed), "w5": normal(5, 8, seed=seed)},
        **{"b1": normal(12), "b2": normal(8), "b4": normal(8), "b5": normal(5)},
        **{"g3": rng.uniform(0.5, 1.5, 12), "b3": normal(12), "m3": normal(12)},
        "v3": rng.uniform(0.5, 1.5, 12),
    }
    return network(f"s = Conv (x, w0)\n{RESIDUAL}", weights)


@pytest.mark.parametrize("method", ["least-squares", "batch-norm"])
@pytest.mark.parametrize("seed", range(4))
def test_no_network_is_worse_on_other_images(seed: int, method: Any) -> None:
    gone = np.random.default_rng(seed).permutation(12)[:5].tolist()
    pruned = prune(residual(seed), a=gone, e=gone)
    recovered = pruned.recover(method, images(128, seed))
    other = images(seed=99)
    before = error(pruned.original, pruned.model, other)
    after = error(pruned.original, recovered.model, other)
    assert after < before
    if method == "least-squares":
        assert after < 0.5 * before


def test_a_layer_makes_up_for_what_the_shortcut_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = list(range(0, 12, 2))
    pruned, data, other = prune(residual(), a=gone), images(128), images(seed=9)
    recovered = pruned.recover(data=data).model
    module = import_module("reprune_onnx.recovery.plan")  # not the function of that name
    monkeypatch.setattr(module, "joint_of", partial(joint_of, through_adds=False))
    without = pruned.recover(data=data).model
    assert error(pruned.original, recovered, other, "i") < 0.95 * error(
        pruned.original, without, other, "i"
    )
    assert error(pruned.original, recovered, other) < error(pruned.original, without, other)


def test_of_two_branches_the_later_one_makes_up_for_the_sum() -> None:
    """The first cannot: what the second will give is not known before it is refitted."""
    body = f"""{FIRST}
      b = Conv (r, w2)
      c = Conv <pads = [1,1,1,1]> (r, w3)
      d = Add (b, c)
      y = Relu (d)"""
    weights = {**W1, "w2": normal(5, 8, 1, 1), "w3": normal(5, 8, 3, 3)}
    pruned = prune(network(body, weights), a=[0, 1, 5])
    first, second = plan(pruned.graph, pruned.channels, pruned.keep, Graph(pruned.model))
    assert (first.joint.tensor, first.joint.other) == ("b", None)
    assert (second.joint.tensor, second.joint.other) == ("d", "b")
    other = images(seed=9)
    recovered = pruned.recover(data=images()).model
    assert error(pruned.original, recovered, other) < error(pruned.original, pruned.model, other)


def test_moved_targets_use_what_a_relu_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the Relu the error is smaller than that of a plain fit."""
    pruned, data, other = prune(residual(), a=list(range(6))), images(128), images(seed=9)
    recovered = pruned.recover(data=data).model
    monkeypatch.setattr(least_squares, "_ROUNDS", 0)
    unmoved = pruned.recover(data=data).model
    assert error(pruned.original, recovered, other, "d") < error(
        pruned.original, unmoved, other, "d"
    )


def test_a_layer_before_a_clip_is_fitted_as_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain transcription of the module's docstring, for a 1×1 layer."""
    monkeypatch.setattr(least_squares, "RIDGES", (1e-3 / least_squares.FOR_ALL,))
    body = f"{FIRST}\n c = Conv (r, w2, b2)\n y = Clip (c, low, high)"
    weights = {"w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(5, 8, 1, 1)}
    bounds = {"low": np.array(-0.2), "high": np.array(0.4)}
    pruned = prune(network(body, {**weights, **bounds, "b2": normal(5)}), a=[0, 1, 5])
    data = images()
    x, z = (
        np.moveaxis(outputs(m.proto, data, name), 1, -1).reshape(-1, n).astype(np.float64)
        for m, name, n in ((pruned.model, "r", 5), (pruned.original, "c", 5))
    )
    W0 = values(pruned.model.proto)["w2"].reshape(5, 5).astype(np.float64)
    n = len(x)
    centred = x - x.mean(axis=0)
    ridge = np.sqrt(1e-3 * (centred**2).sum() / 5) * np.eye(5)
    target = z
    for _ in range(1 + least_squares._ROUNDS):
        A = np.vstack([centred, ridge])
        B = np.vstack([target - target.mean(axis=0), ridge @ W0.T])
        W = np.linalg.lstsq(A, B, rcond=None)[0].T
        b = target.mean(axis=0) - W @ x.mean(axis=0)
        now = x @ W.T + b
        target = np.where(z <= -0.2, np.minimum(now, -0.2), z)
        target = np.where(z >= 0.4, np.maximum(now, 0.4), target)
    assert n == 64 * 64
    recovered = values(pruned.recover(data=data).model.proto)
    np.testing.assert_allclose(recovered["w2"].reshape(5, 5), W, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(recovered["b2"], b, rtol=1e-3, atol=1e-4)


def test_weights_that_are_shared_or_computed_stay() -> None:
    body = f"""{FIRST}
      b = Conv <pads = [1,1,1,1]> (r, w2)
      c = Conv <pads = [1,1,1,1]> (b, w3)
      d = Conv <pads = [1,1,1,1]> (c, w3)
      twice = Mul (w4, two)
      e = Conv (d, twice)
      y = Conv (e, w5)"""
    weights = {
        **{**W1, "w2": normal(4, 8, 3, 3), "w3": normal(4, 4, 3, 3), "two": np.array(2.0)},
        **{"w4": normal(4, 4, 1, 1), "w5": normal(4, 4, 1, 1)},
    }
    pruned = prune(network(body, weights), a=[0, 1, 5])
    recovered = pruned.recover(data=images())
    before, after = values(pruned.model.proto), values(recovered.model.proto)
    changed = {k for k in before if before[k].tobytes() != after[k].tobytes()}
    assert changed == {"w2", "w5"}
    assert recovered.layers == 2


def test_a_gemm_that_adds_an_activation_stays() -> None:
    body = f"""{FIRST}
      p = GlobalAveragePool (r)
      f = Flatten (p)
      q = GlobalAveragePool (x)
      h = Flatten (q)
      y = Gemm (f, w2, h)"""
    pruned = prune(network(body, {**W1, "w2": normal(8, 3)}), a=[0, 1, 5])
    recovered = pruned.recover(data=images())
    assert recovered.layers == 0
    np.testing.assert_array_equal(
        values(recovered.model.proto)["w2"], values(pruned.model.proto)["w2"]
    )


def test_channels_that_nothing_reads_keep_their_weights() -> None:
    """A γ of zero: the layer's output does not reach the rest, so nothing can be fitted."""
    body, weights = READERS["with batch norm"]
    pruned = prune(network(f"{FIRST}\n{body}", {**W1, **weights}), a=[0, 1])
    recovered = pruned.recover(data=images())
    before, after = values(pruned.model.proto)["w2"], values(recovered.model.proto)["w2"]
    np.testing.assert_array_equal(after[3], before[3])
    assert not np.allclose(after[2], before[2], atol=1e-3)


def test_activations_that_overflow_are_named() -> None:
    body = f"{FIRST}\n p = Exp (r)\n q = Exp (p)\n s = Exp (q)\n y = Conv (s, w2)"
    weights = {"w1": 30 * W1["w1"], "b1": W1["b1"], "w2": normal(5, 8, 1, 1)}
    pruned = prune(network(body, weights), a=[0])
    with pytest.raises(DataError, match="not finite before Conv"):
        pruned.recover(data=images())
