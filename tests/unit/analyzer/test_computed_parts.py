"""Parts of a computed size: a cut in one part must not pass for one in all.

``(C + 1) / 2`` is the number of channels that are left of the first of two parts after some cuts
and not after others, so random cuts alone can miss the one that tells them apart.
"""

from __future__ import annotations

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp

GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {{
    [a] f = Conv (x, u)
    [c] c = Conv <pads = [1, 1, 1, 1]> (f, w)
    r = Relu (c)
    s = Shape (r)
    n = Gather <axis = 0> (s, one)
    up = Add (n, less)
    half = Div (up, parts)
    end = Mul (half, parts)
    a = Slice (r, zero, half, one)
    b = Slice (r, half, {end}, one)
    j = Concat <axis = 1> (b, a)
    y = Conv (j, v)
}}"""
RNG = np.random.default_rng(3)


@pytest.mark.parametrize("channels", [4, 6, 9])
@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("before", range(1, 7))
def test_parts_of_a_computed_size_stay_the_parts_they_were(channels, parts, before):
    proto = text_graphs.model(
        GRAPH.format(end="end" if parts == 2 else "n"),
        u=RNG.standard_normal((before, 3, 1, 1)),
        w=RNG.standard_normal((channels, before, 3, 3)),
        v=RNG.standard_normal((3, channels, 1, 1)),
        one=np.array([1]),
        zero=np.array([0]),
        less=np.array([parts - 1]),
        parts=np.array([parts]),
    )
    for seed in range(4):
        settings = rp.Settings(
            sparsity=0.9, method="random", seed=seed, recover="none", min_channels=channels - 1
        )
        report = rp.prune(rp.Model(proto), settings).report
        assert report["verification"]["passed"]
