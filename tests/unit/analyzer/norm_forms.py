"""Forms of norms, means and extremes over channels, each as the nodes between two Conv layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

N = 8


@dataclass(frozen=True)
class Form:
    """``body`` makes ``n`` of ``s``, both (batch, 8, 4, 4).

    ``arrays`` are constants without channels, ``scales`` the shapes of those with channels along
    the axis of extent 8. ``statistics`` are the nodes that look over channels. ONNX Runtime
    computes it ``since`` a version.
    """

    name: str
    body: str
    statistics: int
    scales: dict[str, tuple[int, ...]]
    arrays: dict[str, Any]
    opset: int = 17
    since: str = "1.20"


EPS = {"eps": np.float32(1e-5)}
AXIS = {"channel": np.array([1], np.int64)}
FORMS = [
    Form(
        "LayerNormalization over the last axis",
        """t = Transpose <perm = [0,2,3,1]> (s)
        u = LayerNormalization <axis = -1> (t, scale, bias)
        n = Transpose <perm = [0,3,1,2]> (u)""",
        1,
        {"scale": (N,), "bias": (N,)},
        {},
    ),
    Form(
        "LayerNormalization over channels and positions",
        "n = LayerNormalization <axis = 1> (s, scale, bias)",
        1,
        {"scale": (N, 4, 4), "bias": (N, 4, 4)},
        {},
    ),
    Form(
        "SkipLayerNormalization, whose sum goes on",
        """t = Transpose <perm = [0,2,3,1]> (s)  r = Reshape (t, rows)  a = Relu (r)
        u, mean, deviation, sum = com.microsoft.SkipLayerNormalization (r, a, scale, bias, shift)
        v = Add (u, sum)  w = Transpose <perm = [0,2,1]> (v)  n = Reshape (w, image)""",
        1,
        {"scale": (N,), "bias": (N,), "shift": (N,)},
        {"rows": np.array([2, 16, -1], np.int64), "image": np.array([2, -1, 4, 4], np.int64)},
    ),
    Form(
        "SkipLayerNormalization of an activation with itself",
        """t = Transpose <perm = [0,2,3,1]> (s)  r = Reshape (t, rows)
        u = com.microsoft.SkipLayerNormalization (r, r, scale)
        w = Transpose <perm = [0,2,1]> (u)  n = Reshape (w, image)""",
        1,
        {"scale": (N,)},
        {"rows": np.array([2, 16, -1], np.int64), "image": np.array([2, -1, 4, 4], np.int64)},
    ),
    Form(
        "SkipSimplifiedLayerNormalization, to which a constant is added",
        """t = Transpose <perm = [0,2,3,1]> (s)  r = Reshape (t, rows)
        u = com.microsoft.SkipSimplifiedLayerNormalization (r, places, scale, shift)
        w = Transpose <perm = [0,2,1]> (u)  n = Reshape (w, image)""",
        1,
        {"scale": (N,), "shift": (N,), "places": (1, 16, N)},
        {"rows": np.array([2, 16, -1], np.int64), "image": np.array([2, -1, 4, 4], np.int64)},
    ),
    Form(
        "LayerNormalization whose scale is one number for all channels",
        """t = Transpose <perm = [0,2,3,1]> (s)
        u = LayerNormalization <axis = -1> (t, one)
        n = Transpose <perm = [0,3,1,2]> (u)""",
        1,
        {},
        {"one": np.full(1, 1.5)},
        since="1.21",
    ),
    Form(
        "RMSNormalization",
        """t = Transpose <perm = [0,2,3,1]> (s)
        u = RMSNormalization <axis = -1> (t, scale)
        n = Transpose <perm = [0,3,1,2]> (u)""",
        1,
        {"scale": (N,)},
        {},
        23,
        since="1.23",
    ),
    Form(
        "a LayerNormalization written out",
        """m = ReduceMean <axes = [1]> (s)
        d = Sub (s, m)
        q = Pow (d, two)
        v = ReduceMean <axes = [1]> (q)
        e = Add (v, eps)
        r = Sqrt (e)
        u = Div (d, r)
        g = Mul (u, scale)
        n = Add (g, bias)""",
        2,
        {"scale": (N, 1, 1), "bias": (N, 1, 1)},
        {"two": np.float32(2), **EPS},
    ),
    Form(
        "a LayerNormalization by the mean of squares, axes as an input",
        """m = ReduceMean (s, channel)
        mm = Mul (m, m)
        q = Mul (s, s)
        v = ReduceMean (q, channel)
        w = Sub (v, mm)
        e = Add (w, eps)
        r = Sqrt (e)
        d = Sub (s, m)
        n = Div (d, r)""",
        2,
        {},
        {**AXIS, **EPS},
        18,
    ),
    Form(
        "a norm of length one",
        """l = ReduceL2 <axes = [1]> (s)
        n = Div (s, l)""",
        1,
        {},
        {},
    ),
    Form("LpNormalization", "n = LpNormalization <axis = 1, p = 2> (s)", 1, {}, {}),
    Form(
        "MeanVarianceNormalization",
        "n = MeanVarianceNormalization <axes = [1, 2, 3]> (s)",
        1,
        {},
        {},
    ),
    Form(
        "the mean and the maximum over channels as a gate",
        """m = ReduceMean <axes = [1]> (s)
        x1 = ReduceMax <axes = [1]> (s)
        c = Concat <axis = 1> (m, x1)
        k = Conv <pads = [1,1,1,1]> (c, gate_w)
        a = Sigmoid (k)
        n = Mul (s, a)""",
        2,
        {},
        {"gate_w": np.random.default_rng(1).standard_normal((1, 2, 3, 3))},
    ),
    Form(
        "GroupNormalization of one group",
        "n = GroupNormalization <num_groups = 1> (s, scale, bias)",
        1,
        {"scale": (N,), "bias": (N,)},
        {},
        21,
    ),
    Form(
        "a norm over one group, as PyTorch writes it",
        """r = Reshape (s, group)
        i = InstanceNormalization (r, one, zero)
        size = Shape (s)
        w = Reshape (i, size)
        g = Mul (w, scale)
        n = Add (g, bias)""",
        1,
        {"scale": (N, 1, 1), "bias": (N, 1, 1)},
        {"group": np.array([0, 1, -1], np.int64), "one": np.ones(1), "zero": np.zeros(1)},
    ),
    Form(
        "a global response normalisation",
        """g = ReduceL2 <axes = [2,3]> (s)
        m = ReduceMean <axes = [1]> (g)
        e = Add (m, eps)
        d = Div (g, e)
        h = Mul (s, d)
        i = Mul (h, scale)
        j = Add (i, bias)
        n = Add (j, s)""",
        1,
        {"scale": (N, 1, 1), "bias": (N, 1, 1)},
        EPS,
    ),
]
