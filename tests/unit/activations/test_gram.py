"""Moments by few samples compute what the same matrix does; shrinkage against the publication."""

from functools import partial

import numpy as np
import pytest

from reprune_onnx.activations.gram import Gram, factored, merged, of_matrix, of_samples
from reprune_onnx.types import Floats

N, D, M = 7, 18, 4


def unused() -> Floats:
    """An inverse that samples do without."""
    raise AssertionError("the inverse was computed")


@pytest.fixture(params=[False, True], ids=["few", "few, shrunk"])
def both(request: pytest.FixtureRequest) -> tuple[Gram, Gram]:
    """The same moments of few samples, by these and as a matrix."""
    A = np.random.default_rng(3).standard_normal((N, D)) * np.geomspace(2, 0.1, D)
    thin, full = of_samples(A), of_matrix(A.T @ A)
    assert type(thin) is not type(full)
    return (thin.shrunk(N), full.shrunk(N)) if request.param else (thin, full)


def test_both_forms_compute_the_same(both: tuple[Gram, Gram]) -> None:
    rng = np.random.default_rng(5)
    W, B = rng.standard_normal((M, D)), rng.standard_normal((D, 3))
    gone = [np.array([2, 5, 11]), np.arange(0), np.arange(D), np.arange(0, D, 2)]
    thin, full = both
    assert (thin.inputs, thin.scale) == (full.inputs, pytest.approx(full.scale))
    for a, b in (
        (thin.matrix(), full.matrix()),
        (thin.times(B), full.times(B)),
        (thin.energies(W), full.energies(W)),
        (thin.solver(0.02)(B), full.solver(0.02)(B)),
        (thin.inverse(0.02), full.inverse(0.02)),
        (thin.lost(W, gone, 0.02, unused), full.lost(W, gone, 0.02, lambda: full.inverse(0.02))),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    assert not np.allclose(
        thin.lost(W, gone, 0.02, unused),
        full.lost(W, gone, 0.03, lambda: full.inverse(0.03)),
        rtol=1e-3,
    )


def test_a_matrix_in_float32_computes_nearly_the_same() -> None:
    """Also of more rows than are converted at once."""
    rng = np.random.default_rng(5)
    n, D = 1200, 300
    A = rng.standard_normal((n, D)) * np.geomspace(2, 0.5, D) / np.sqrt(n)
    exact, G = of_matrix(A.T @ A), of_matrix((A.T @ A).astype(np.float32))
    W, B = rng.standard_normal((M, D)), rng.standard_normal((D, 3))
    gone = [np.arange(7), np.arange(0, D, 2)]
    for a, b in (
        (G.times(B), exact.times(B)),
        (G.energies(W), exact.energies(W)),
        (G.solver(0.02)(B), exact.solver(0.02)(B)),
        (G.inverse(0.02), exact.inverse(0.02)),
        (
            G.lost(W, gone, 0.02, lambda: G.inverse(0.02)),
            exact.lost(W, gone, 0.02, lambda: exact.inverse(0.02)),
        ),
        (G.shrunk(D).matrix(), exact.shrunk(D).matrix()),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert G.solver(0.02)(B).dtype == np.float64
    np.testing.assert_array_equal(exact.inverse(0.02), exact.inverse(0.02).T)


def test_what_is_lost_is_the_schur_complement(both: tuple[Gram, Gram]) -> None:
    """Of a third of the inputs, and of the other two thirds."""
    W, ridge, third = np.random.default_rng(5).standard_normal((M, D)), 0.02, np.arange(0, D, 3)
    rest = np.setdiff1d(np.arange(D), third)
    for moments in both:
        G = moments.matrix() + ridge * np.eye(D)
        P = np.linalg.inv(G)
        expected = []
        for R, S in ((third, rest), (rest, third)):
            schur = G[np.ix_(R, R)] - G[np.ix_(R, S)] @ np.linalg.solve(
                G[np.ix_(S, S)], G[np.ix_(S, R)]
            )
            expected.append(np.trace(W[:, R] @ schur @ W[:, R].T))
        losses = moments.lost(W, [third, rest], ridge, partial(np.asarray, P))
        np.testing.assert_allclose(losses, expected, rtol=1e-9)


@pytest.mark.parametrize("forms", ["few and few", "few and many", "many and few", "many and many"])
def test_two_samples_together(forms: str) -> None:
    rng = np.random.default_rng(9)
    X = rng.standard_normal((12, D)) + 3
    parts = []
    for form, part in zip(forms.split(" and "), (X[:5], X[5:]), strict=True):
        A = (part - part.mean(axis=0)) / np.sqrt(len(part))
        parts.append(of_samples(A) if form == "few" else of_matrix(A.T @ A))
    apart = X[5:].mean(axis=0) - X[:5].mean(axis=0)
    together = merged((5 / 12, parts[0]), (7 / 12, parts[1]), apart)
    np.testing.assert_allclose(together.matrix(), np.cov(X.T, bias=True), atol=1e-12)


def test_a_factor_of_what_rounding_left_without_one() -> None:
    G = np.diag([1.0, 1.0, -1e-3])
    before = G.copy()
    c, lower = factored(G, 1e-5)
    U = np.triu(c)
    assert not lower
    np.testing.assert_allclose(U.T @ U, G + 1e-2 * np.eye(3), rtol=1e-9)
    c, _ = factored(np.eye(3), 1e-5)
    np.testing.assert_allclose(np.triu(c), np.sqrt(1 + 1e-5) * np.eye(3), rtol=1e-12)
    assert np.array_equal(G, before)


def test_moments_of_few_samples_are_shrunk_by_the_published_share() -> None:
    rng = np.random.default_rng(5)
    n = 6
    X = rng.standard_normal((n, 8)) * np.geomspace(1, 0.05, 8)
    S = X.T @ X / n
    trace, squares = np.trace(S), np.trace(S @ S)
    rho = (1 - 2 / 8) * squares + trace**2
    rho /= (n + 1 - 2 / 8) * (squares - trace**2 / 8)
    assert 0 < rho < 1
    for G in (of_matrix(S.copy()), of_samples(X / np.sqrt(n))):
        shrunk = G.shrunk(n).matrix()
        np.testing.assert_allclose(shrunk, (1 - rho) * S + rho * trace / 8 * np.eye(8), atol=1e-14)
        assert np.linalg.matrix_rank(S) < 8 == np.linalg.matrix_rank(shrunk)


@pytest.mark.parametrize(
    ("G", "n", "expected"),
    [
        (np.diag([1.0, 3.0]), 20, np.diag([1.0, 3.0])),  # enough samples
        (np.eye(3), 2, np.eye(3)),  # nothing to shrink: the share would be x/0
        (np.array([[2.0, 1.9], [1.9, 2.0]]), 1, 2 * np.eye(2)),  # more than all of it
        (np.zeros((4, 4)), 3, np.zeros((4, 4))),
        (np.array([[7.0]]), 1, np.array([[7.0]])),
    ],
)
def test_moments_that_are_kept_or_made_equal(G: np.ndarray, n: int, expected: np.ndarray) -> None:
    np.testing.assert_allclose(of_matrix(G.copy()).shrunk(n).matrix(), expected, rtol=1e-12)
