"""The compiled engine against its plain twins, and these against scipy."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.sparse import csc_array
from scipy.spatial.distance import pdist

from reprune_onnx.pruner.select import cluster
from reprune_onnx.pruner.select.cluster import cut, dendrograms, plain_cut, plain_dendrograms
from reprune_onnx.pruner.select.coverage import plain_lost

numba = pytest.importorskip("numba")
LINKAGES = ["ward", "single", "complete", "average"]


@st.composite
def kernels(draw):
    """Kernels (m, n_in, d) of every kind: with ties, equal ones, zeros; in several precisions."""
    m, n_in = draw(st.integers(1, 70)), draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    K = rng.normal(size=(m, n_in, draw(st.sampled_from([1, 3, 4, 9, 25])))) * draw(
        st.sampled_from([1.0, 1e-30, 1e12])
    )
    kind = draw(st.sampled_from(["float64", "float32", "integers", "equal ones", "zeros"]))
    if kind == "float32":
        return K.astype(np.float32).astype(np.float64)
    if kind == "integers":
        return rng.integers(-1, 2, K.shape).astype(np.float64)
    if kind == "equal ones":
        return K[rng.integers(0, max(1, m // 3), m)]
    return K * (rng.random((m, n_in, 1)) < 0.6) if kind == "zeros" else K


@pytest.mark.parametrize("linkage", LINKAGES)
@settings(deadline=None, max_examples=60)
@given(kernels())
def test_equals_the_plain_twin_to_the_last_bit(linkage, K):
    from reprune_onnx.pruner.select import compiled

    pairs, heights = compiled.merges(K, linkage)
    twin = plain_dendrograms(K, linkage)
    np.testing.assert_array_equal(pairs, twin.pairs)
    np.testing.assert_array_equal(heights, twin.heights)
    counts = np.arange(K.shape[1]) % max(1, K.shape[0])
    np.testing.assert_array_equal(compiled.cut(pairs, counts), plain_cut(twin, counts))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_step_of_the_cover_equals_its_twin_to_the_last_bit(n, clusters, seed):
    from reprune_onnx.pruner.select.compiled_cover import lost

    rng = np.random.default_rng(seed)
    members = csc_array(rng.random((n, clusters)) < 0.3, dtype=np.float64)
    newly = np.flatnonzero(rng.random(clusters) < 0.5)
    values = rng.random(clusters)
    np.testing.assert_array_equal(
        lost(members.indptr, members.indices, newly, values, n), plain_lost(members, newly, values)
    )


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("m", [1, 2, 3, 7, 150])
def test_numbers_without_ties_merge_as_scipy_merges_them(linkage, m):
    K = np.random.default_rng(m).normal(size=(m, 6, 1))
    twin = plain_dendrograms(K, linkage)
    for j in range(6 if m > 1 else 0):
        tree = hierarchy.linkage(pdist(K[:, j]), linkage)
        np.testing.assert_allclose(twin.heights[j], tree[:, 2], rtol=1e-12)
        assert (np.diff(tree[:, 2]) > 1e-12).all(), "a tie: take another seed"
        for n_merges in range(m):
            C = cut(cluster.Merges(twin.pairs[[j]], twin.heights[[j]]), np.array([n_merges]))[:, 0]
            ids = hierarchy.fcluster(tree, m - n_merges, criterion="maxclust")
            np.testing.assert_array_equal(C[:, None] == C, ids[:, None] == ids)


def test_a_large_layer_is_compiled_and_a_small_one_need_not_be(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cluster, "plain_dendrograms", None)
    tree = dendrograms(rng.normal(size=(130, 130, 1)), "ward")
    assert tree.pairs.shape == (130, 129, 2)


@pytest.mark.parametrize("d", [1, 9])
def test_any_number_of_threads_gives_the_same(monkeypatch, d):
    from reprune_onnx.pruner.select import compiled

    K = np.random.default_rng(3).integers(-2, 3, size=(40, 50, d)).astype(np.float64)
    results = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        pairs, heights = compiled.merges(K, "ward")
        results.append((pairs, heights, compiled.cut(pairs, np.full(50, 20))))
    for result in results[1:]:
        for array, first in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(array, first)


def test_of_equal_gaps_the_lower_is_merged_first():
    K = np.array([5.0, 4.0, 1.0, 0.0]).reshape(4, 1, 1)
    for linkage in LINKAGES:
        assert cut(plain_dendrograms(K, linkage), np.array([1]))[:, 0].tolist() == [0, 1, 2, 2]


def test_numbers_at_growing_distances_need_one_round_each():
    K = (2.0 ** np.arange(40)).reshape(40, 1, 1)
    twin = plain_dendrograms(K, "single")
    np.testing.assert_array_equal(twin.heights[0], 2.0 ** np.arange(39))
    np.testing.assert_array_equal(twin.pairs[0], [(c, c + 1) for c in range(39)])


SCRIPT = """
import warnings
import numpy as np
{before}
from reprune_onnx.pruner.select.cluster import clusters
K = np.random.default_rng(0).normal(size=(130, 130, 1))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    C = [clusters(K, 60, "ward", "merge-count") for _ in range(2)]
print(C[1].sum(), (C[1] * np.arange(130)).sum(), len(said), *(w.message for w in said))
"""


@pytest.fixture
def run(root, tmp_path):
    def run(before="", **environment):
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(before=before)],
            cwd=root,
            env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(root), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.split(maxsplit=3)

    return run


def test_without_numba_the_twin_runs_and_says_so_once(run):
    compiled = run()
    assert compiled[2] == "0"
    without = run(before="import sys; sys.modules['numba'] = None")
    assert without[:2] == compiled[:2]
    assert without[2] == "1"
    assert "numba cannot be imported" in without[3]


def test_where_nothing_can_be_cached_it_is_compiled_anew(run):
    nowhere = (
        "from numba.core import caching\ncaching.FunctionCache._impl_class._locator_classes = []"
    )
    assert run(before=nowhere)[:3] == run()[:3]
