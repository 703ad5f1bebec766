"""The speed of the selection engine, warm. Not part of the tests:

pytest tools/benchmarks --benchmark-only
"""

import numpy as np
import pytest

from reprune_onnx.pruner.select import compiled
from reprune_onnx.pruner.select.cluster import Merges, cut, plain_dendrograms
from reprune_onnx.pruner.select.coverage import cover
from reprune_onnx.types import Filters, Problem

pytest.importorskip("pytest_benchmark")
# Layers of ResNet-50: the reducing 1×1 and the 3×3 convolutions of its stages. (m, n_in, d)
LAYERS = [(64, 256, 1), (64, 64, 9), (256, 1024, 1), (256, 256, 9), (512, 2048, 1), (512, 512, 9)]


@pytest.fixture(params=LAYERS, ids=lambda shape: "x".join(map(str, shape)))
def kernels(request):
    K = np.random.default_rng(0).normal(size=request.param)
    compiled.merges(K[:4], "ward")
    return K


@pytest.mark.parametrize("linkage", ["ward", "single", "complete", "average"])
def test_compiled(benchmark, kernels, linkage):
    pairs, _ = benchmark(compiled.merges, kernels, linkage)
    assert pairs.shape[0] == kernels.shape[1]


def test_twin(benchmark, kernels):
    few = kernels[:, :32]
    tree = benchmark.pedantic(plain_dendrograms, (few, "ward"), rounds=3)
    assert len(tree.pairs) == 32


def test_cut_and_cover(benchmark, kernels):
    m, n_in, _ = kernels.shape
    tree = Merges(*compiled.merges(kernels, "ward"))
    problem = Problem(
        m, (Filters(kernels, np.arange(m)),), np.ones(m), np.zeros(m, dtype=bool), m // 2
    )

    def work():
        C = cut(tree, np.full(n_in, m // 2))
        return cover(problem, [C], "max-l2", np.ones(m), np.random.default_rng(0))

    assert len(benchmark(work).kept) == m // 2
