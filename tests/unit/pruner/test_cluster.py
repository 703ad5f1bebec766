import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from reprune_onnx.pruner.select import cluster
from reprune_onnx.pruner.select.cluster import clusters
from reprune_onnx.pruner.select.cluster import plain_dendrograms as plain

LINKAGES = ["ward", "single", "complete", "average"]
rng = np.random.default_rng(7)
RANDOM = rng.normal(size=(12, 5, 9))
KERNELS = {
    "random": RANDOM,
    "uneven": RANDOM * np.array([0.01, 1, 1, 5, 100])[:, None],
    "1x1": rng.normal(size=(9, 4, 1)),
    "duplicates": RANDOM[[0, 1, 2, 0, 1, 2, 0, 3, 4, 5, 5, 5]],
    "zeros": np.zeros((9, 3, 9)),
    "some zeros": RANDOM * (np.arange(12) % 3 > 0)[:, None, None],
    "integers": rng.integers(-1, 2, size=(10, 4, 2)).astype(float),
    "one filter": RANDOM[:1],
    "two filters": RANDOM[:2],
    "one input": RANDOM[:, :1],
    "no input": RANDOM[:, :0],
}
EVERY = [
    pytest.param(kernels, n_merges, id=f"{name}-{n_merges}")
    for name, kernels in KERNELS.items()
    for n_merges in range(len(kernels))
]


def by_first_occurrence(ids):
    _, index, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(index))[inverse]


def replay(tree, n_merges, m):
    """The partition after the first merges of a linkage matrix, with plain sets."""
    sets = {i: [i] for i in range(m)}
    for c in range(n_merges):
        sets[m + c] = sets.pop(int(tree[c, 0])) + sets.pop(int(tree[c, 1]))
    ids = np.zeros(m, dtype=int)
    for number, members in sets.items():
        ids[members] = number
    return by_first_occurrence(ids)


def linkage(points, method):
    if len(points) == 1:
        return np.zeros((0, 4))
    return hierarchy.linkage(pdist(points), method)


@pytest.mark.parametrize("method", LINKAGES)
@pytest.mark.parametrize(("kernels", "n_merges"), EVERY)
def test_merge_count_replays_scipys_merges(kernels, n_merges, method):
    m, n_in, _ = kernels.shape
    C = clusters(kernels, n_merges, method, "merge-count")
    assert C.shape == (m, n_in)
    assert C.dtype == np.int64
    for j in range(n_in):
        assert len(np.unique(C[:, j])) == m - n_merges
        expected = replay(linkage(kernels[:, j], method), n_merges, m)
        np.testing.assert_array_equal(C[:, j], expected)


@pytest.mark.parametrize("method", LINKAGES)
@pytest.mark.parametrize("n_merges", range(1, 12))
def test_merge_count_equals_fcluster_where_no_heights_are_equal(n_merges, method):
    C = clusters(RANDOM, n_merges, method, "merge-count")
    for j in range(RANDOM.shape[1]):
        tree = hierarchy.linkage(RANDOM[:, j], method)
        ids = hierarchy.fcluster(tree, 12 - n_merges, criterion="maxclust")
        np.testing.assert_array_equal(C[:, j], by_first_occurrence(ids))


@pytest.mark.parametrize("method", LINKAGES)
@pytest.mark.parametrize(("kernels", "n_merges"), EVERY)
def test_height_cuts_every_input_at_the_highest_merge(kernels, n_merges, method):
    m, n_in, _ = kernels.shape
    C = clusters(kernels, n_merges, method, "height")
    assert C.shape == (m, n_in)
    if n_merges == 0:
        np.testing.assert_array_equal(C, np.tile(np.arange(m)[:, None], n_in))
        return
    trees = [linkage(kernels[:, j], method) for j in range(n_in)]
    h = max((tree[n_merges - 1, 2] for tree in trees), default=0)
    for j, tree in enumerate(trees):
        ids = hierarchy.fcluster(tree, h, criterion="distance")
        np.testing.assert_array_equal(C[:, j], by_first_occurrence(ids))


def test_a_cohesive_input_gets_fewer_clusters_by_height():
    K = np.array([[0.0, 0.0], [1.0, 9.0], [2.1, 30.0], [3.3, 70.0]])[:, :, None]
    assert clusters(K, 1, "ward", "merge-count").max(axis=0).tolist() == [2, 2]
    assert clusters(K, 1, "ward", "height").max(axis=0).tolist() == [0, 2]


def test_ward_is_the_true_one():
    """Eq. 2 as printed, without the square, would merge 20 and 25 before {0, 2} and 5."""
    K = np.array([0.0, 2.0, 5.0, 20.0, 25.0])[:, None, None]
    assert clusters(K, 2, "ward", "merge-count")[:, 0].tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("cutoff", ["merge-count", "height"])
@pytest.mark.parametrize("kernels", [KERNELS["random"], KERNELS["1x1"], KERNELS["no input"]])
def test_remembered_dendrograms_give_the_same_clusters_at_any_number(kernels, cutoff, monkeypatch):
    made = []
    monkeypatch.setattr(cluster, "dendrograms", lambda K, way: made.append(way) or plain(K, way))
    for way in LINKAGES:
        trees = {}
        for n_merges in range(len(kernels)):
            expected = clusters(kernels, n_merges, way, cutoff)
            made.clear()
            labels = clusters(kernels, n_merges, way, cutoff, trees)
            np.testing.assert_array_equal(labels, expected)
            assert made == ([way] if n_merges == 1 and kernels.size else [])
