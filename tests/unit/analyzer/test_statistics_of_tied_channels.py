"""Means and norms over channels of which a GroupNormalization ties those of a group."""

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp

STATISTICS = {
    "a mean over all axes": "m = ReduceMean <keepdims = 1> (b, all) s = Mul (b, m)",
    "a maximum over channels": "m = ReduceMax <keepdims = 1> (b, one) s = Add (b, m)",
    "a norm over channels and positions": "s = LayerNormalization <axis = 1> (b, scale)",
}


@pytest.mark.parametrize(("channels", "groups"), [(4, 2), (9, 3)])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_statistic_along_another_axis_than_the_last_is_proven(statistic, channels, groups):
    """Equal units in a row are no positions there: each channel lies at one place."""
    text = f"""<ir_version: 8, opset_import: ["": 21]>
    g (float[2,3,6,6] x) => (float[2,2,6,6] y) {{
        a = Conv <pads = [1,1,1,1]> (x, u)
        b = GroupNormalization <num_groups = {groups}> (a, gamma, beta)
        {STATISTICS[statistic]}
        c = Conv <pads = [1,1,1,1]> (s, v)
        r = Relu (c)
        y = Conv (r, w)
    }}"""
    rng = np.random.default_rng(0)
    weights = {
        "u": rng.standard_normal((channels, 3, 3, 3)),
        "gamma": 1 + rng.random(channels),
        "beta": rng.random(channels),
        "v": rng.standard_normal((6, channels, 3, 3)),
        "w": rng.standard_normal((2, 6, 1, 1)),
        "all": np.arange(4),
        "one": np.array([1]),
        "scale": rng.random((channels, 6, 6)),
    }
    proto = model(text, **{name: array for name, array in weights.items() if name in text})
    how = {"allocation": "uniform", "method": "l1", "recover": "none"}
    report = rp.prune(proto, rp.Settings(sparsity=0.5, norm_statistics="kept", **how)).report
    verification = report["verification"]
    assert verification is not None and verification["passed"]
    assert {cut["initializer"] for cut in report["cuts"]} >= {"v", "w"}
