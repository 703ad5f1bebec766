import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.choices import SelectOptions
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.select import METHODS, reprune, select
from reprune_onnx.pruner.select.cluster import clusters
from reprune_onnx.types import Filters, Problem

LINKAGES = ["ward", "single", "complete", "average"]
CUTOFFS = ["merge-count", "height"]
REFERENCE = Path(__file__).parents[2] / "reference_algorithm1.py"
algorithm1 = runpy.run_path(str(REFERENCE))["select"]


def problem(*parts, n=None, n_keep=1, fixed=(), gamma=None):
    """A group's problem; a part is kernels (m, n_in, d), or a pair (kernels, channels)."""
    pairs = [part if isinstance(part, tuple) else (part, np.arange(len(part))) for part in parts]
    filters = tuple(Filters(np.asarray(k, dtype=float), np.asarray(c)) for k, c in pairs)
    n = n or len(pairs[0][0])
    gamma = np.ones(n) if gamma is None else np.asarray(gamma, dtype=float)
    return Problem(n, filters, gamma, np.isin(np.arange(n), fixed), n_keep)


def kept(p, method, seed=0, **options):
    rng = np.random.default_rng(seed)
    return select(p, method, SelectOptions(**options), rng).kept.tolist()


def column(*values):
    return np.array(values, dtype=float)[:, None, None]


# ── Algorithm 1 ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tie_break", ["max-l2", "min-l2"])
@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("linkage", LINKAGES)
def test_reprune_equals_the_transcription_of_the_paper(linkage, cutoff, tie_break):
    rng = np.random.default_rng(3)
    for n_out, n_in, k in [(1, 3, 3), (2, 1, 3), (8, 3, 3), (12, 4, 1), (16, 16, 3)]:
        F = rng.normal(size=(n_out, n_in, k, k)).astype(np.float32)
        F[n_out // 2 :] *= 0.1  # cohesive kernels, so that a height cuts deep
        F[-1] = F[0]
        for n_keep in range(1, n_out + 1):
            p = problem(F.reshape(n_out, n_in, -1), n_keep=n_keep)
            options = SelectOptions(linkage, cutoff, tie_break)
            ours = reprune.select(p, options, rng).kept.tolist()
            assert ours == algorithm1(F, n_keep, linkage, cutoff, tie_break)


def test_linkage_and_cutoff_matter():
    K = np.random.default_rng(0).normal(size=(24, 6, 9)) * np.array([1, 1, 1, 0.1, 0.1, 9])[:, None]
    choices = {
        tuple(kept(problem(K, n_keep=10), "reprune", linkage=a, cutoff=b, tie_break="max-l2"))
        for a in LINKAGES
        for b in CUTOFFS
    }
    assert len(choices) > 4


def test_reprune_keeps_one_of_each_kind():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(4, 5, 9))
    K = np.repeat(kinds, 3, axis=0) + 1e-3 * rng.normal(size=(12, 5, 9))
    for seed in range(5):
        p = problem(K, n_keep=4)
        choice = select(p, "reprune", SelectOptions(), np.random.default_rng(seed))
        assert (choice.kept // 3).tolist() == [0, 1, 2, 3]
        assert choice.coverage == 1.0


def test_auto_goes_by_the_order_of_elimination_where_there_is_one():
    p = problem(np.random.default_rng(0).normal(size=(8, 5, 9)), n_keep=3)
    ordered = replace(p, order=np.arange(8)[::-1])
    for options in ({}, {"coverage": "norm"}):
        assert kept(p, "auto", **options) == kept(p, "reprune", **options)
        assert kept(ordered, "auto", **options) == [5, 6, 7]
        assert kept(ordered, "reprune", **options) == kept(p, "reprune", **options)


def test_a_partial_producer_is_clustered_at_the_same_sparsity():
    """Half of 10 channels go, so ⌊3·5/10⌋ = 1 merge of 3 filters: U has 5 + 2 clusters."""
    pairs = column(0, 10, 20, 30, 40, 0.1, 10.1, 20.1, 30.1, 40.1)
    partial = (column(0, 0.1, 9), [2, 5, 7])
    p = problem(pairs, partial, n_keep=5, fixed=range(5))
    assert reprune.select(p, SelectOptions(), np.random.default_rng(0)).coverage == 6 / 7


# ── the other criteria ──────────────────────────────────────────────────────────────────────────


def test_l1_and_l2_keep_the_largest():
    K = np.array([[[3.0, 0.0]], [[2.0, 2.0]], [[-1.0, 0.0]]])
    assert kept(problem(K, n_keep=1), "l1") == [1]
    assert kept(problem(K, n_keep=1), "l2") == [0]
    assert kept(problem(K, n_keep=2), "l1") == [0, 1]


@pytest.mark.parametrize("method", ["l1", "l2", "fpgm"])
def test_no_layer_of_a_group_outweighs_another(method):
    a, b = column(9, 5, 1, 1), column(1, 5, 8, 1)
    alone = kept(problem(a, b, n_keep=2), method)
    assert kept(problem(a * 1e6, b, n_keep=2), method) == alone


@pytest.mark.parametrize("method", ["l1", "l2"])
def test_a_zero_layer_changes_nothing(method):
    a = column(1, 3, 2, 4)
    assert kept(problem(a, column(0, 0, 0, 0), n_keep=1), method) == [3]
    assert kept(problem(a, (column(0, 0), [1, 3]), n_keep=2), method) == [1, 3]


def test_fpgm_drops_the_most_central():
    K = column(-5, 0.1, 7, -0.2, 9)
    assert kept(problem(K, n_keep=4), "fpgm") == [0, 2, 3, 4]
    assert kept(problem(K, n_keep=3), "fpgm") == [0, 2, 4]


def test_bn_gamma_keeps_the_largest():
    p = problem(column(9, 9, 9, 9), n_keep=2, gamma=[0.5, 0.1, 0.5, 0.7])
    assert kept(p, "bn-gamma") == [0, 3]


def test_random_draws_every_channel():
    p = problem(column(1, 2, 3, 4), n_keep=2)
    assert len({tuple(kept(p, "random", seed)) for seed in range(60)}) == 6


def test_representative_keeps_the_nearest_to_each_mean():
    K = column(0, 1, 0.4, 10, 10.9, 10.5)
    assert kept(problem(K, n_keep=2), "representative") == [2, 5]


def test_representative_of_a_pair_is_the_first():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pair = rng.normal(size=(2, 3, 9))
        assert kept(problem(pair, n_keep=1), "representative") == [0]


def test_fixed_channels_represent_their_clusters():
    K = column(0, 1, 0.4, 10, 10.9, 10.5)
    assert kept(problem(K, n_keep=2, fixed=[1]), "representative") == [1, 5]
    assert kept(problem(K, n_keep=3, fixed=[0, 1]), "representative") == [0, 1, 5]
    assert kept(problem(K, n_keep=2, fixed=[0, 1]), "representative") == [0, 1]


# ── what holds for all ──────────────────────────────────────────────────────────────────────────


@st.composite
def problems(draw):
    """Random, scaled, equal or zero kernels of one or two producers, one of them partial."""
    n = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = []
    for partial in draw(st.sampled_from([[], [False], [True], [False, True], [False, False]])):
        m = int(rng.integers(1, n + 1)) if partial else n
        kernels = rng.normal(size=(m, draw(st.integers(1, 3)), draw(st.sampled_from([1, 4, 9]))))
        kind = draw(st.sampled_from(["random", "zero", "equal", "rounded"]))
        if kind == "zero":
            kernels[:] = 0
        elif kind == "equal":
            kernels[:] = kernels[0]
        elif kind == "rounded":
            kernels = kernels.round()
        parts.append((kernels, np.sort(rng.choice(n, m, replace=False))))
    n_keep = draw(st.integers(1, n))
    fixed = rng.choice(n, draw(st.integers(0, n_keep)), replace=False)
    return problem(*parts, n=n, n_keep=n_keep, fixed=fixed, gamma=rng.random(n).round(1))


@settings(deadline=None, max_examples=50)
@given(
    problems(),
    st.sampled_from(LINKAGES),
    st.sampled_from(CUTOFFS),
    st.sampled_from(["random", "max-l2", "min-l2"]),
)
def test_every_method_keeps_the_asked_number_and_the_fixed(p, linkage, cutoff, tie_break):
    options = SelectOptions(linkage, cutoff, tie_break)
    for method in METHODS:
        choice, again = (select(p, method, options, np.random.default_rng(1)) for _ in range(2))
        assert len(choice.kept) == p.n_keep
        assert choice.kept.dtype == np.int64
        assert (np.diff(choice.kept) > 0).all()
        assert choice.kept[0] >= 0
        assert choice.kept[-1] < p.n
        assert np.isin(np.flatnonzero(p.fixed), choice.kept).all()
        assert choice.coverage is None or 0 <= choice.coverage <= 1
        np.testing.assert_array_equal(choice.kept, again.kept)


@pytest.mark.parametrize("method", METHODS)
def test_a_group_without_weights_keeps_the_first_channels(method):
    assert kept(problem(n=5, n_keep=3, fixed=[4]), method) == [0, 1, 4]


@pytest.mark.parametrize(("n_keep", "fixed"), [(0, []), (-1, []), (4, []), (1, [0, 2])], ids=str)
def test_impossible_numbers_are_refused(n_keep, fixed):
    with pytest.raises(SelectionError, match=f"cannot keep {n_keep} of 3 channels"):
        kept(problem(column(1, 2, 3), n_keep=n_keep, fixed=fixed), "l1")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad):
    with pytest.raises(SelectionError, match="NaN or infinite"):
        kept(problem(column(1, bad, 3)), "reprune")


def test_energies_weigh_the_kernels_of_their_input():
    rng = np.random.default_rng(7)
    K = rng.normal(size=(12, 4, 9))

    def chosen(energy, coverage="energy"):
        p = problem(K, n_keep=4)
        (filters,) = p.filters
        p = replace(p, filters=(replace(filters, energy=np.asarray(energy, dtype=float)),))
        return kept(p, "reprune", coverage=coverage, tie_break="max-l2")

    by_norm = chosen([1, 9, 9, 9], "norm")
    assert chosen([3, 3, 3, 3]) == by_norm
    assert chosen([1, 0, 0, 0]) != by_norm
    first = np.unique(clusters(K[:, :1], 8, "ward", "merge-count"), return_inverse=True)[1].ravel()
    assert len(set(first)) == 4
    assert len(set(first[chosen([1, 0, 0, 0])])) == 4, "all that counts is covered"
    assert len(set(first[by_norm])) < 4
