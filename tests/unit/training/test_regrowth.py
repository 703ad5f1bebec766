"""Channel regrowth: how many, how likely, and what ε measures."""

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

import reprune_onnx as rp
from reprune_onnx.training.regrowth import (
    counts,
    delta,
    regrown,
    residuals,
)
from reprune_onnx.types import Filters, Group


def group(n: int, free: np.ndarray | None = None, number: int = 0) -> Group:
    return Group(number, np.arange(n), np.ones(n, bool) if free is None else free, (), ())


def part(W: np.ndarray, channels: np.ndarray | None = None) -> Filters:
    channels = np.arange(len(W)) if channels is None else channels
    return Filters(W.reshape(len(W), 1, -1), channels)


def test_delta_falls_from_delta_0_to_0():
    values = [delta(t, 96, 0.3) for t in range(97)]
    assert values[0] == pytest.approx(0.3)
    assert values[48] == pytest.approx(0.15)
    assert values[96] == pytest.approx(0.0, abs=1e-12)
    assert all(a > b for a, b in pairwise(values))


def test_epsilon_is_the_distance_from_the_span_of_the_kept_filters():
    """Against the projector written out: P = K⁺ K."""
    W = np.random.default_rng(0).standard_normal((9, 6))
    kept = np.array([1, 4, 7])
    K = W[kept]
    P = np.linalg.pinv(K) @ K
    expected = np.linalg.norm(W - W @ P, axis=1)
    np.testing.assert_allclose(residuals(group(9), (part(W),), kept), expected, atol=1e-12)
    assert (residuals(group(9), (part(W),), kept)[kept] < 1e-12).all()


def test_kept_filters_that_depend_on_each_other_span_no_more():
    W = np.array([[1.0, 0, 0], [2.0, 0, 0], [3.0, 4, 0], [0, 0, 0]])
    left_over = residuals(group(4), (part(W),), np.array([0, 1, 3]))
    np.testing.assert_allclose(left_over, [0, 0, 4, 0], atol=1e-12)


def test_layers_that_make_a_channel_together_add_up():
    a, b = np.eye(3), np.diag([3.0, 0, 4.0])
    left_over = residuals(group(3), (part(a), part(b)), np.array([1]))
    np.testing.assert_allclose(left_over, [np.sqrt(1 + 9), 0, np.sqrt(1 + 16)])


def test_draws_follow_the_softmax_of_epsilon():
    epsilon = np.array([0.0, 1.0, 2.0, 9.0])
    candidates = np.array([0, 1, 2])  # the last is kept already
    rng = np.random.default_rng(0)
    hits = np.zeros(4)
    for _ in range(20000):
        hits[regrown(epsilon, candidates, 1, rng)] += 1
    p = np.exp(epsilon[:3]) / np.exp(epsilon[:3]).sum()
    np.testing.assert_allclose(hits / 20000, [*p, 0], atol=0.012)


def test_draws_are_without_replacement_and_never_more_than_there_are():
    rng = np.random.default_rng(0)
    epsilon = np.ones(6)
    for count in range(9):
        chosen = regrown(epsilon, np.array([1, 3, 5]), count, rng)
        assert len(chosen) == min(count, 3)
        assert set(chosen) <= {1, 3, 5}
        assert (np.diff(chosen) > 0).all()


def test_counts_are_the_global_quantile_with_masked_channels_first():
    """⌈0.5·8⌉ channels fall; the masked ones, whose γ is 0, are the first of them."""
    groups = [group(4, number=0), group(4, number=1)]
    gammas = {0: np.array([0.0, 0.0, 5.0, 6.0]), 1: np.array([1.0, 2.0, 3.0, 4.0])}
    assert counts(groups, gammas, 0.5, rp.Settings(sparsity=0.5)) == {0: 2, 1: 2}
    assert counts(groups, gammas, 0.25, rp.Settings(sparsity=0.5)) == {0: 2, 1: 4}
    assert counts(groups, gammas, 0.0, rp.Settings(sparsity=0.5)) == {0: 4, 1: 4}


def test_counts_leave_a_channel_in_every_layer_and_keep_what_is_fixed():
    fixed = np.array([False, True, True, True])
    groups = [group(4, number=0), group(4, ~fixed, 1)]
    gammas = {0: np.full(4, 0.1), 1: np.array([9.0, 0, 0, 0])}
    assert counts(groups, gammas, 0.8, rp.Settings(sparsity=0.5)) == {0: 1, 1: 4}


def test_equal_gammas_say_nothing():
    groups = [group(4, number=0), group(8, number=1)]
    gammas = {0: np.ones(4), 1: np.ones(8)}
    assert counts(groups, gammas, 0.5, rp.Settings(sparsity=0.5)) == {0: 2, 1: 4}
