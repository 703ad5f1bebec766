"""Backward elimination against an explicit least-squares refit of every subset."""

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.activations.gram import of_matrix
from reprune_onnx.pruner.sensitivity.elimination import _RIDGE, Reader, eliminate, lost

Array = np.ndarray[Any, np.dtype[np.float64]]


def moments(D: int, rng: np.random.Generator, rank: int | None = None) -> Array:
    X = rng.standard_normal((200, rank or D)) @ rng.standard_normal((rank or D, D))
    X = X * rng.uniform(0.2, 2.0, D)
    return X.T @ X / len(X)


def reader(rng: np.random.Generator, sizes: list[int], others: int = 0, m: int = 3) -> Reader:
    """``sizes[i]`` inputs carry channel i, anywhere among the inputs; ``others`` carry none."""
    D = sum(sizes) + others
    at = rng.permutation(D)
    stops = np.cumsum([0, *sizes])
    inputs = tuple(np.sort(at[a:b]) for a, b in pairwise(stops))
    return Reader(rng.standard_normal((m, D)), of_matrix(moments(D, rng)), inputs)


def refitted(readers: list[Reader], kept: list[int]) -> float:
    """What is left of ‖W·x - V·x_S‖² for the best V, over samples that have the moments G."""
    total = 0.0
    for r in readers:
        D = r.G.inputs
        ridged = r.G.matrix() + _RIDGE * r.G.scale * np.eye(D)
        X = np.linalg.cholesky(ridged).T  # XᵀX is the ridged G
        gone = [j for i, channel in enumerate(r.inputs) if i not in kept for j in channel]
        S = [j for j in range(D) if j not in gone]
        T = X @ r.W.T
        V = np.linalg.lstsq(X[:, S], T, rcond=None)[0]
        total += float(((T - X[:, S] @ V) ** 2).sum())
    return total


SHAPES = {
    "a pointwise reader": [([1] * 6, 0)],
    "a 2×2 kernel": [([4] * 5, 0)],
    "two readers": [([1] * 6, 0), ([4] * 6, 3)],
    "a reader of some": [([1, 1, 0, 1, 0, 1], 2), ([1] * 6, 0)],
    "a flattened reader": [([4] * 6, 0), ([9] * 6, 0)],
    "uneven": [([1, 3, 2, 1, 1], 2)],
}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_the_first_to_go_and_the_curve_are_those_of_brute_force(shapes: Any) -> None:
    rng = np.random.default_rng(11)
    readers = [reader(rng, sizes, others) for sizes, others in shapes]
    n = len(readers[0].inputs)
    curve = eliminate(readers, np.zeros(n, bool))
    left = list(range(n))
    for k in range(n, 0, -1):
        options = {i: refitted(readers, [j for j in left if j != i]) for i in left}
        gone = min(options, key=lambda i: options[i])
        assert curve.order[k - 1] == gone
        left.remove(gone)
        assert curve.error[k - 1] == pytest.approx(options[gone], rel=1e-6, abs=1e-9)
    assert curve.error[n] == 0.0


@settings(deadline=None, max_examples=30, database=None, derandomize=True)
@given(st.integers(0, 9999), st.lists(st.integers(0, 4), min_size=2, max_size=6), st.booleans())
def test_what_is_lost_is_that_of_a_refit(seed: int, sizes: list[int], second: bool) -> None:
    rng = np.random.default_rng(seed)
    readers = [reader(rng, sizes, int(rng.integers(1, 4)))]
    if second:
        readers.append(reader(rng, [2] * len(sizes)))
    kept = np.flatnonzero(rng.random(len(sizes)) < 0.5)
    expected = refitted(readers, kept.tolist())
    assert lost(readers, [kept])[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    curve = eliminate(readers, np.zeros(len(sizes), bool))
    assert (np.diff(curve.error) <= 0).all()
    assert sorted(curve.order) == list(range(len(sizes)))
    for k in range(len(sizes) + 1):
        measured = float(lost(readers, [curve.order[:k]])[0])
        assert curve.error[k] == pytest.approx(measured, rel=1e-5, abs=1e-8)


def test_elimination_finds_channels_that_others_make_up_for() -> None:
    """Of channels 0, 1 and their sum 2 one can go for nothing; the pair 3, 4 carries the rest."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 5))
    X[:, 2] = X[:, 0] + X[:, 1]
    r = Reader(rng.standard_normal((4, 5)), of_matrix(X.T @ X / 500), tuple(np.arange(5)[:, None]))
    curve = eliminate([r], np.zeros(5, bool))
    assert curve.order[4] in (0, 1, 2)
    assert curve.error[4] < 1e-3 * curve.error[3]
    best = min(float(lost([r], [np.array(kept)])[0]) for kept in combinations(range(5), 4))
    assert curve.error[4] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("samples", [100, 2000])
def test_updates_that_wait_and_are_applied_end_where_a_refit_does(samples: int) -> None:
    """540 inputs wait and are applied twice; 100 samples of them leave G without most of its rank.

    The second reader takes other inputs per channel, and other updates wait.
    """
    rng = np.random.default_rng(5)
    readers = []
    for taps in (9, 1):
        X = rng.standard_normal((samples, 60 * taps)) @ rng.standard_normal((60 * taps, 60 * taps))
        inputs = np.arange(60 * taps).reshape(60, taps)
        W = rng.standard_normal((7, 60 * taps))
        readers.append(Reader(W, of_matrix(X.T @ X / samples), tuple(inputs)))
    curve = eliminate(readers, np.zeros(60, bool))
    for k in range(0, 60, 5):
        refit = float(lost(readers, [curve.order[:k]])[0])
        assert curve.error[k] == pytest.approx(refit, rel=1e-6, abs=1e-9 * curve.error[0])


def test_fixed_channels_go_last() -> None:
    rng = np.random.default_rng(2)
    readers = [reader(rng, [1] * 7), reader(rng, [3] * 7)]
    fixed = np.isin(np.arange(7), [1, 4, 6])
    free = eliminate(readers, np.zeros(7, bool))
    curve = eliminate(readers, fixed)
    assert set(curve.order[:3]) == {1, 4, 6}
    assert free.order.tolist() != curve.order.tolist()
    assert (np.diff(curve.error) <= 0).all()


def test_inputs_that_never_vary_cost_nothing() -> None:
    rng = np.random.default_rng(2)
    r = reader(rng, [1] * 5)
    G = np.array(r.G.matrix())
    (dead,) = r.inputs[3]
    G[dead] = G[:, dead] = 0.0
    curve = eliminate([Reader(r.W, of_matrix(G), r.inputs)], np.zeros(5, bool))
    assert curve.order[4] == 3
    assert curve.error[4] < 1e-3 * curve.error[3]
    dark = Reader(r.W, of_matrix(np.zeros_like(G)), r.inputs)
    assert np.isfinite(eliminate([dark], np.zeros(5, bool)).error).all()
    assert np.isfinite(lost([dark], [np.array([0])])).all()


def test_many_equal_channels_stay_finite() -> None:
    """A singular matrix of moments: 40 copies of 3 channels."""
    rng = np.random.default_rng(4)
    X = np.tile(rng.standard_normal((300, 3)), 40)
    r = Reader(
        rng.standard_normal((8, 120)), of_matrix(X.T @ X / 300), tuple(np.arange(120)[:, None])
    )
    curve = eliminate([r], np.zeros(120, bool))
    assert set(curve.order[:3] % 3) == {0, 1, 2}
    assert curve.error[3] < 1e-3 * curve.error[0]
    assert (np.diff(curve.error) <= 0).all()


def test_moments_that_rounding_made_indefinite() -> None:
    """A few samples of many inputs, in float32: eigenvalues that should be zero are negative."""
    rng = np.random.default_rng(4)
    X = (rng.standard_normal((16, 300)) + 3).astype(np.float32)
    G = (X.T @ X / 16).astype(np.float64) - np.outer(X.mean(axis=0), X.mean(axis=0))
    G -= 1e-3 * np.eye(300)
    r = Reader(rng.standard_normal((4, 300)), of_matrix(G), tuple(np.arange(300)[:, None]))
    curve = eliminate([r], np.zeros(300, bool))
    assert np.isfinite(curve.error).all()
    assert (np.diff(curve.error) <= 0).all()
    assert np.isfinite(lost([r], [np.arange(0, 300, 3)])).all()


def test_without_readers_nothing_is_lost() -> None:
    curve = eliminate([], np.array([False, True, False]))
    assert sorted(curve.order) == [0, 1, 2]
    assert curve.error.tolist() == [0.0] * 4
