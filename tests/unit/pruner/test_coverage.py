from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import e

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.pruner.select import coverage
from reprune_onnx.pruner.select.coverage import cover, numbered
from reprune_onnx.types import Filters, Problem


def problem(clusters, n_keep, fixed=(), n=None, channels=None):
    n = n or len(clusters[0])
    channels = channels or [np.arange(len(C)) for C in clusters]
    parts = tuple(
        Filters(np.zeros((*C.shape, 1)), np.asarray(c))
        for C, c in zip(clusters, channels, strict=True)
    )
    return Problem(n, parts, np.ones(n), np.isin(np.arange(n), fixed), n_keep)


def run(clusters, n_keep, tie_break="max-l2", norms=None, seed=0, values=None, **kwargs):
    clusters = [np.asarray(C) for C in clusters]
    p = problem(clusters, n_keep, **kwargs)
    norms = np.ones(p.n) if norms is None else np.asarray(norms, dtype=float)
    return cover(p, clusters, tie_break, norms, np.random.default_rng(seed), values)


def sets_of(clusters, channels, n):
    """What each channel covers, as sets of (producer, input channel, cluster)."""
    sets = [set() for _ in range(n)]
    for p, (C, of_channel) in enumerate(zip(clusters, channels, strict=True)):
        for row, i in zip(C, of_channel, strict=True):
            sets[i] |= {(p, j, c) for j, c in enumerate(row)}
    return sets


def plain_greedy(sets, n_keep, fixed, key, worth_of=lambda u: 1):
    chosen = list(fixed)
    covered = set().union(*(sets[i] for i in chosen))
    while len(chosen) < n_keep:
        rest = [i for i in range(len(sets)) if i not in chosen]
        if not any(worth_of(u) for i in rest for u in sets[i] - covered):
            covered = set()
        score = {
            i: Fraction(sum(worth_of(u) for u in sets[i] - covered), max(1, len(sets[i])))
            for i in rest
        }
        best = max(score.values())
        i = min((i for i in rest if score[i] == best), key=lambda i: (key(i), i))
        chosen.append(i)
        covered |= sets[i]
    return sorted(chosen)


@st.composite
def partitions(draw):
    """Cluster matrices of one or two producers, the second of which makes only some channels."""
    n = draw(st.integers(1, 8))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    channels = [np.arange(n)]
    if draw(st.booleans()):
        channels.append(np.sort(rng.choice(n, rng.integers(1, n + 1), replace=False)))
    matrices = []
    for of_producer in channels:
        raw = rng.integers(
            0, draw(st.integers(1, 4)), size=(len(of_producer), draw(st.integers(1, 4)))
        )
        columns = [np.unique(column, return_inverse=True)[1] for column in raw.T]
        matrices.append(np.stack(columns, axis=1))
    n_keep = draw(st.integers(1, n))
    fixed = rng.choice(n, rng.integers(0, n_keep + 1), replace=False)
    return n, channels, matrices, n_keep, np.sort(fixed), rng.integers(0, 3, n).astype(float)


@settings(deadline=None, max_examples=50)
@given(partitions(), st.sampled_from(["max-l2", "min-l2"]))
def test_equals_the_plain_greedy(case, tie_break):
    n, channels, matrices, n_keep, fixed, norms = case
    choice = run(matrices, n_keep, tie_break, norms, fixed=fixed, n=n, channels=channels)
    sets = sets_of(matrices, channels, n)
    sign = -1 if tie_break == "max-l2" else 1
    expected = plain_greedy(sets, n_keep, fixed, key=lambda i: sign * norms[i])
    assert choice.kept.tolist() == expected
    rate = len(set().union(*(sets[i] for i in expected))) / len(set().union(*sets))
    assert choice.coverage == pytest.approx(rate)


@settings(deadline=None, max_examples=50)
@given(partitions(), st.sampled_from([1e-12, 1.0, 3e8]))
def test_equals_the_plain_greedy_where_clusters_differ_in_worth(case, unit):
    n, channels, matrices, n_keep, fixed, norms = case
    ids, size = numbered(matrices)
    values = np.random.default_rng(n).integers(0, 9, size)
    choice = run(
        matrices, n_keep, "max-l2", norms, values=values * unit, fixed=fixed, n=n, channels=channels
    )
    u_of = {
        (p, j, int(C[i, j])): int(ids[p][i, j])
        for p, C in enumerate(matrices)
        for i in range(len(C))
        for j in range(C.shape[1])
    }
    expected = plain_greedy(
        sets_of(matrices, channels, n),
        n_keep,
        fixed,
        key=lambda i: -norms[i],
        worth_of=lambda u: int(values[u_of[u[0], u[1], int(u[2])]]),
    )
    assert choice.kept.tolist() == expected


def test_clusters_are_numbered_by_producer_then_input_then_cluster():
    ids, size = numbered([np.array([[0, 0], [1, 0]]), np.array([[0], [1]])])
    assert [u.tolist() for u in ids] == [[[0, 2], [1, 2]], [[3], [4]]]
    assert size == 5


def test_worth_decides_before_number():
    C = np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
    assert run([C], 1, values=np.array([1.0, 1.0, 5.0, 1.0])).kept.tolist() == [0]
    assert run([C], 2, values=np.array([1.0, 1.0, 5.0, 3.0])).kept.tolist() == [0, 2]


@settings(deadline=None, max_examples=50)
@given(partitions())
def test_greedy_covers_most_of_what_the_best_choice_covers(case):
    n, channels, matrices, n_keep, _, _ = case
    channels, matrices = channels[:1], matrices[:1]  # one producer: all filters weigh the same
    choice = run(matrices, n_keep, "random", n=n, channels=channels)
    sets = sets_of(matrices, channels, n)
    best = max(len(set().union(*(sets[i] for i in k))) for k in combinations(range(n), n_keep))
    assert choice.coverage >= (1 - 1 / e) * best / len(set().union(*sets)) - 1e-12


@settings(deadline=None, max_examples=50)
@given(partitions(), st.integers(0, 1000))
def test_keeps_the_asked_number_and_the_fixed(case, seed):
    n, channels, matrices, n_keep, fixed, _ = case
    args = {"fixed": fixed, "n": n, "channels": channels, "seed": seed}
    kept = run(matrices, n_keep, "random", **args).kept
    assert len(kept) == n_keep
    assert (np.diff(kept) > 0).all()
    assert np.isin(fixed, kept).all()
    np.testing.assert_array_equal(kept, run(matrices, n_keep, "random", **args).kept)


def test_ties_by_norm_then_by_lowest_index():
    C = np.array([[0], [0], [1], [1], [1]])
    assert run([C], 2, "max-l2", [1, 2, 3, 4, 4]).kept.tolist() == [1, 3]
    assert run([C], 2, "min-l2", [1, 2, 3, 4, 3]).kept.tolist() == [0, 2]
    assert run([C], 2, "max-l2").kept.tolist() == [0, 2]
    assert run([C], 2, "min-l2").kept.tolist() == [0, 2]


def test_scores_are_equal_where_only_the_tenth_digit_differs():
    C, norms = np.array([[0], [1]]), [2, 1]
    assert run([C], 1, norms=norms, values=np.array([1, 1 + 4e-9])).kept.tolist() == [1]
    assert run([C], 1, norms=norms, values=np.array([1, 1 + 4e-10])).kept.tolist() == [0]


def test_random_ties_are_uniform_and_seeded():
    C = np.array([[0], [0], [0], [0]])
    picks = Counter(int(run([C], 1, "random", seed=seed).kept[0]) for seed in range(400))
    assert set(picks) == {0, 1, 2, 3}
    assert min(picks.values()) > 60
    assert run([C], 1, "random", seed=5).kept == run([C], 1, "random", seed=5).kept


def test_the_random_choice_is_only_among_the_best():
    C = np.array([[0, 0], [0, 1], [1, 1], [2, 1]])
    for seed in range(20):
        choice = run([C], 3, "random", seed=seed, fixed=[0])
        assert set(choice.kept) in ({0, 2, 3}, {0, 1, 2}, {0, 1, 3})
        assert choice.coverage == (1.0 if set(choice.kept) == {0, 2, 3} else 0.8)


def test_fixed_channels_count_as_covered():
    C = np.array([[0], [0], [1]])
    assert run([C], 2, fixed=[1], norms=[9, 1, 0]).kept.tolist() == [1, 2]


def test_a_fresh_cover_begins_when_everything_is_covered():
    C = np.array([[0], [0], [0], [1], [1], [1]])
    norms = [9, 8, 7, 3, 2, 1]
    choice = run([C], 4, norms=norms)
    assert choice.kept.tolist() == [0, 1, 3, 4]  # by norm alone it would be 0, 1, 2, 3
    assert choice.coverage == 1.0
    assert run([C], 6, norms=norms).kept.tolist() == list(range(6))


def test_the_rate_counts_covered_clusters():
    C = np.array([[0, 0], [0, 1], [1, 2], [2, 3]])
    assert run([C], 1).coverage == 2 / 7
    assert run([C], 4).coverage == 1.0


def test_without_clusters_there_is_no_rate():
    choice = run([np.zeros((3, 0), dtype=int)], 2)
    assert choice.coverage is None
    assert choice.kept.tolist() == [0, 1]
    assert run([np.zeros((3, 0), dtype=int)], 2, values=np.ones(0)).kept.tolist() == [0, 1]


def test_every_producer_must_have_its_clusters():
    C = np.array([[0], [1]])
    with pytest.raises(ValueError, match="zip"):
        cover(problem([C, C], 1), [C], "max-l2", np.ones(2), np.random.default_rng(0))


def test_a_channel_that_few_producers_make_is_not_worth_less_for_that():
    first, second = np.array([[0], [1], [2]]), np.array([[0, 0]])
    by_norm = {"norms": np.array([1.0, 1.0, 2.0]), "n": 3, "channels": [[0, 1, 2], [1]]}
    choice = run([first, second], 1, **by_norm)
    assert choice.kept.tolist() == [2], "all are wholly uncovered: the norm decides"
    assert choice.coverage == 1 / 5, "but it covers only what it has kernels in"


def test_nor_is_it_in_a_fresh_cover():
    first, second = np.array([[0], [0], [0], [0]]), np.array([[0], [0]])
    norms = [2.0, 3.0, 1.5, 1.0]
    kept = run([first, second], 2, norms=norms, channels=[[0, 1, 2, 3], [1, 3]]).kept
    assert kept.tolist() == [0, 1], "1 covers everything; of the rest 0 has the largest norm"


@pytest.mark.parametrize("compiles", [False, True])
def test_the_choice_is_the_same_with_and_without_numba(monkeypatch, compiles):
    if compiles:
        pytest.importorskip("numba")
    monkeypatch.setattr(coverage, "worth_compiling", lambda: compiles)
    rng = np.random.default_rng(3)
    C = np.stack(
        [np.unique(c, return_inverse=True)[1] for c in rng.integers(0, 5, (6, 12))], axis=1
    )
    (ids,), size = numbered([C])
    values = rng.integers(1, 9, size)
    for n_keep in range(1, 13):
        expected = plain_greedy(
            sets_of([C], [range(12)], 12),
            n_keep,
            [],
            key=lambda i: i,
            worth_of=lambda u: int(values[ids[C[:, u[1]] == u[2], u[1]][0]]),
        )
        assert run([C], n_keep, values=values * 0.1).kept.tolist() == expected
