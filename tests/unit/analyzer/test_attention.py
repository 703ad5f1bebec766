"""Channels of attention: whole heads go, and what is told apart along positions is tied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from attention_graphs import FEW, START, TURN, D, H, Kind, P, drawn, goes_as_by_hand, network

import reprune_onnx as rp

IMAGES_TIMES_HEADS = Kind(
    "as many places in a batch as there are images times heads",
    H,
    "q",
    START
    + """  s = Transpose <perm = [1,0,2]> (t)  p0 = Shape <end = 1> (s)
    n = Shape <start = 1, end = 2> (s)  nh = Mul (n, heads)
    apart = Concat <axis = 0> (p0, nh, width)"""
    + "".join(
        f"""[{x}] {x} = MatMul (s, {x}_w)  {x}r = Reshape ({x}, apart)
        {x}h = Transpose <perm = [1,0,2]> ({x}r)"""
        for x in "qkv"
    )
    + """  kt = Transpose <perm = [0,2,1]> (kh)  a = MatMul (qh, kt)
    p = Softmax <axis = -1> (a)  o = MatMul (p, vh)  w = Transpose <perm = [1,0,2]> (o)
    joined = Concat <axis = 0> (p0, n, wide)  z = Reshape (w, joined)  y = MatMul (z, o_w)""",
    lambda h: {"flat": [0, 6, P], "heads": [h], "width": [D], "wide": [h * D]},
    {
        "f_w": ((6, 3, 3, 3), []),
        **{f"{x}_w": ((6, H * D), [(1, 1, D)]) for x in "qkv"},
        "o_w": ((H * D, 5), [(0, 1, D)]),
    },
    1,
    D,
    images="N",
)

KINDS = [
    Kind(
        "attention across the channels of each head",
        H,
        "qkv",
        START
        + f"""[qkv] m = MatMul (t, qkv_w)  s = Reshape (m, parts)
        u = Transpose <perm = [2,0,3,4,1]> (s)  q = Gather <axis = 0> (u, i0)
        k = Gather <axis = 0> (u, i1)  v = Gather <axis = 0> (u, i2)  kt = {TURN} (k)
        a = MatMul (q, kt)  p = Softmax <axis = -1> (a)  o = MatMul (p, v)
        w = Transpose <perm = [0,3,1,2]> (o)  z = Reshape (w, joined)  y = MatMul (z, o_w)""",
        lambda h: {"flat": [1, 6, P], "parts": [1, P, 3, h, D], "joined": [1, P, h * D]},
        {
            "f_w": ((6, 3, 3, 3), []),
            "qkv_w": ((6, 3 * H * D), [(1, 3, D)]),
            "o_w": ((H * D, 5), [(0, 1, D)]),
        },
        3,
        D,
    ),
    Kind(
        "linear attention, whose values have a one behind them",
        H,
        "qkv",
        f"""[stem] f = Conv <pads = [1,1,1,1]> (x, f_w)  [qkv] m = Conv (f, qkv_w)
        s = Reshape (m, parts)  q, k, v = Split <axis = 2> (s, thirds)
        v1 = Pad (v, pads, one)  rk = Relu (k)  rq = Relu (q)  kt = {TURN} (rk)
        n = MatMul (v1, kt)  o = MatMul (n, rq)  top = Slice (o, c0, c_1, c2)
        low = Slice (o, c_1, end, c2)  pos = Add (low, eps)  w = Div (top, pos)
        z = Reshape (w, joined)  y = Conv (z, o_w)""",
        lambda h: {"parts": [1, h, 3 * D, P], "joined": [1, h * D, 4, 4]},
        {
            "f_w": ((6, 3, 3, 3), []),
            "qkv_w": ((3 * H * D, 6, 1, 1), [(0, 1, 3 * D)]),
            "o_w": ((5, H * D, 1, 1), [(1, 1, D)]),
        },
        1,
        3 * D,
    ),
    Kind(
        "a bias for every head and pair of places",
        H,
        "qkv",
        START
        + f"""[qkv] m = MatMul (t, qkv_w)  s = Reshape (m, parts)
        u = Transpose <perm = [2,0,3,1,4]> (s)  q = Gather <axis = 0> (u, i0)
        k = Gather <axis = 0> (u, i1)  v = Gather <axis = 0> (u, i2)  kt = {TURN} (k)
        a = MatMul (q, kt)  b = Add (a, bias)  p = Softmax <axis = -1> (b)  o = MatMul (p, v)
        w = Transpose <perm = [0,2,1,3]> (o)  z = Reshape (w, joined)  y = MatMul (z, o_w)""",
        lambda h: {"flat": [1, 6, P], "parts": [1, P, 3, h, D], "joined": [1, P, h * D]},
        {
            "f_w": ((6, 3, 3, 3), []),
            "qkv_w": ((6, 3 * H * D), [(1, 3, D)]),
            "bias": ((H, P, P), [(0, 1, 1)]),
            "o_w": ((H * D, 5), [(0, 1, D)]),
        },
        3,
        D,
    ),
    Kind(
        "a class token that is renewed beside places that pass",
        6,
        "stem",
        START
        + """c = Concat <axis = 1> (token, t)  first = Slice (c, c0, c1, c1)
        rest = Slice (c, c1, end, c1)  [renew] a = MatMul (first, a_w)
        b = Concat <axis = 1> (a, rest)  e = Add (c, b)  y = MatMul (e, o_w)""",
        lambda n: {"flat": [1, n, P]},
        {
            "f_w": ((6, 3, 3, 3), [(0, 1, 1)]),
            "token": ((1, 1, 6), [(2, 1, 1)]),
            "a_w": ((6, 6), [(0, 1, 1), (1, 1, 1)]),
            "o_w": ((6, 5), [(0, 1, 1)]),
        },
        1,
        1,
    ),
    *[
        Kind(
            f"a class token that {how}",
            6,
            "stem",
            START
            + f"""n = Shape <end = 1> (t)  {repeated}
            c = Concat <axis = 1> (e, t)  y = MatMul (c, o_w)""",
            lambda n: {"flat": [1, n, P]},
            {
                "f_w": ((6, 3, 3, 3), [(0, 1, 1)]),
                "token": ((1, 1, 6), [(2, 1, 1)]),
                "o_w": ((6, 5), [(0, 1, 1)]),
            },
            1,
            1,
        )
        for how, repeated in (
            (
                "Expand repeats for every image",
                "s = Concat <axis = 0> (n, c1, c1)  e = Expand (token, s)",
            ),
            (
                "Expand repeats to a shape with the number of channels",
                "k = Shape <start = 2> (t)  s = Concat <axis = 0> (n, c1, k)"
                "  e = Expand (token, s)",
            ),
            (
                "Tile repeats for every image",
                "s = Concat <axis = 0> (n, c1, c1)  e = Tile (token, s)",
            ),
        )
    ],
    Kind(
        "queries and keys that are turned in pairs by their places",
        H,
        "q",
        START
        + "  ".join(f"[{x}] {x} = MatMul (t, {x}_w)" for x in "qkv")
        + "".join(
            f"""  {x}4 = Reshape ({x}, apart)  {x}h = Transpose <perm = [0,2,1,3]> ({x}4)
            {x}1 = Slice ({x}h, c0, c2, c3)  {x}2 = Slice ({x}h, c2, end, c3)  {x}n = Neg ({x}2)
            {x}c = Concat <axis = 3> ({x}n, {x}1)  {x}m = Mul ({x}h, cosines4)
            {x}s = Mul ({x}c, sines4)  {x}r = Add ({x}m, {x}s)"""
            for x in "qk"
        )
        + f"""  v4 = Reshape (v, apart)  vh = Transpose <perm = [0,2,1,3]> (v4)
        kt = {TURN} (kr)  a = MatMul (qr, kt)  p = Softmax <axis = -1> (a)  o = MatMul (p, vh)
        w = Transpose <perm = [0,2,1,3]> (o)  z = Reshape (w, joined)  y = MatMul (z, o_w)""",
        lambda h: {"flat": [1, 6, P], "apart": [1, P, h, D], "joined": [1, P, h * D], "c3": [3]},
        {
            "f_w": ((6, 3, 3, 3), []),
            **{f"{x}_w": ((6, H * D), [(1, 1, D)]) for x in "qkv"},
            **{table: ((P, D), []) for table in ("cosines4", "sines4")},
            "o_w": ((H * D, 5), [(0, 1, D)]),
        },
        1,
        D,
    ),
    Kind(
        "two heads of queries for each of keys and values, which are repeated",
        H,
        "q",
        START
        + "  ".join(f"[{x}] {x} = MatMul (t, {x}_w)" for x in "qkv")
        + "".join(
            f"""  {x}4 = Reshape ({x}, few)  {x}h = Transpose <perm = [0,2,1,3]> ({x}4)
            {x}5 = Unsqueeze ({x}h, c2)  {x}e = Expand ({x}5, twice)  {x}r = Reshape ({x}e, all)"""
            for x in "kv"
        )
        + f"""  q4 = Reshape (q, many)  qh = Transpose <perm = [0,2,1,3]> (q4)
        kt = {TURN} (kr)  a = MatMul (qh, kt)  p = Softmax <axis = -1> (a)  o = MatMul (p, vr)
        w = Transpose <perm = [0,2,1,3]> (o)  z = Reshape (w, joined)  y = MatMul (z, o_w)""",
        lambda h: {
            "flat": [1, 6, P],
            "few": [1, P, h, D],
            "many": [1, P, 2 * h, D],
            "twice": [1, h, 2, P, D],
            "all": [1, 2 * h, P, D],
            "joined": [1, P, 2 * h * D],
        },
        {
            "f_w": ((6, 3, 3, 3), []),
            "q_w": ((6, 2 * H * D), [(1, 1, 2 * D)]),
            **{f"{x}_w": ((6, H * D), [(1, 1, D)]) for x in "kv"},
            "o_w": ((2 * H * D, 5), [(0, 1, 2 * D)]),
        },
        1,
        2 * D,
    ),
    Kind(
        "the same places of every head, where these are few",
        D,
        "qkv",
        START
        + f"""[qkv] m = MatMul (t, qkv_w)  s = Reshape (m, parts)
        u = Transpose <perm = [2,0,3,1,4]> (s)  q = Gather <axis = 0> (u, i0)
        k = Gather <axis = 0> (u, i1)  v = Gather <axis = 0> (u, i2)  kt = {TURN} (k)
        a = MatMul (q, kt)  b = Add (a, bias)  p = Softmax <axis = -1> (b)  o = MatMul (p, v)
        w = Transpose <perm = [0,2,1,3]> (o)  z = Reshape (w, joined)  y = MatMul (z, o_w)""",
        lambda d: {"flat": [1, 6, P], "parts": [1, P, 3, FEW, d], "joined": [1, P, FEW * d]},
        {
            "f_w": ((6, 3, 3, 3), []),
            "qkv_w": ((6, 3 * FEW * D), [(1, 3 * FEW, 1)]),
            "bias": ((FEW, P, P), []),
            "o_w": ((FEW * D, 5), [(0, FEW, 1)]),
        },
        3 * FEW,
        1,
    ),
    *[
        Kind(
            f"the same places of every head of {which}",
            D,
            layer,
            START
            + "  ".join(f"[{x}] {x} = MatMul (t, {x}_w)" for x in "qkv")
            + "".join(
                f"""  {x}4 = Reshape ({x}, {"valued" if x == "v" else "scored"})
                {x}h = Transpose <perm = [0,2,1,3]> ({x}4)"""
                for x in "qkv"
            )
            + f"""  kt = {TURN} (kh)  a = MatMul (qh, kt)  p = Softmax <axis = -1> (a)
            o = MatMul (p, vh)  w = Transpose <perm = [0,2,1,3]> (o)  z = Reshape (w, joined)
            y = MatMul (z, o_w)""",
            integers,
            {
                "f_w": ((6, 3, 3, 3), []),
                **{f"{x}_w": ((6, FEW * D), [(1, FEW, 1)] if x in cut else []) for x in "qkv"},
                "o_w": ((FEW * D, 5), [(0, FEW, 1)] if "v" in cut else []),
            },
            FEW,
            1,
        )
        for which, layer, cut, integers in (
            (
                "queries and keys alone",
                "q",
                "qk",
                lambda d: {
                    "flat": [1, 6, P],
                    "scored": [1, P, FEW, d],
                    "valued": [1, P, FEW, D],
                    "joined": [1, P, FEW * D],
                },
            ),
            (
                "values alone",
                "v",
                "v",
                lambda d: {
                    "flat": [1, 6, P],
                    "scored": [1, P, FEW, D],
                    "valued": [1, P, FEW, d],
                    "joined": [1, P, FEW * d],
                },
            ),
        )
    ],
    Kind(
        "shifted windows, with a bias for every head",
        H,
        "qkv",
        START
        + f"""i = Reshape (t, image)  top = Slice (i, c0, c1, c1)  low = Slice (i, c1, end, c1)
        e = Concat <axis = 1> (low, top)  g = Reshape (e, windows)
        j = Transpose <perm = [0,1,3,2,4,5]> (g)  n = Reshape (j, rows)
        [qkv] m = MatMul (n, qkv_w)  s = Reshape (m, parts)
        u = Transpose <perm = [2,0,3,1,4]> (s)  q = Gather <axis = 0> (u, i0)
        k = Gather <axis = 0> (u, i1)  v = Gather <axis = 0> (u, i2)  kt = {TURN} (k)
        a = MatMul (q, kt)  b = Add (a, bias)  p = Softmax <axis = -1> (b)  o = MatMul (p, v)
        w = Transpose <perm = [0,2,1,3]> (o)  z = Reshape (w, joined)  l = MatMul (z, o_w)
        y = Reshape (l, back)""",
        lambda h: {
            "flat": [1, 6, P],
            "image": [1, 4, 4, 6],
            "windows": [1, 2, 2, 2, 2, 6],
            "rows": [4, 4, 6],
            "parts": [4, 4, 3, h, D],
            "joined": [4, 4, h * D],
            "back": [1, P, 5],
        },
        {
            "f_w": ((6, 3, 3, 3), []),
            "qkv_w": ((6, 3 * H * D), [(1, 3, D)]),
            "bias": ((H, 4, 4), [(0, 1, 1)]),
            "o_w": ((H * D, 5), [(0, 1, D)]),
        },
        3,
        D,
    ),
    Kind(
        "maps of two layers, one behind the other",
        6,
        "stem",
        START
        + """f2 = Conv (x, f2_w)  r2 = Reshape (f2, flat)  t2 = Transpose <perm = [0,2,1]> (r2)
        c = Concat <axis = 1> (t, t2)  a = MatMul (c, a_w)  q = Relu (a)  y = MatMul (q, o_w)""",
        lambda n: {"flat": [1, n, P]},
        {
            "f_w": ((6, 3, 3, 3), [(0, 1, 1)]),
            "f2_w": ((6, 3, 1, 1), [(0, 1, 1)]),
            "a_w": ((6, 7), [(0, 1, 1)]),
            "o_w": ((7, 5), []),
        },
        1,
        1,
    ),
    IMAGES_TIMES_HEADS,
    replace(
        IMAGES_TIMES_HEADS,
        name="the same, by a product over a list",
        body=IMAGES_TIMES_HEADS.body.replace(
            "nh = Mul (n, heads)", "both = Concat <axis = 0> (n, heads)  nh = ReduceProd (both)"
        ),
    ),
    replace(IMAGES_TIMES_HEADS, name="the same of one image", images="1"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_one_goes_as_by_hand(kind: Kind) -> None:
    goes_as_by_hand(kind)


def test_a_softmax_over_all_channels_keeps_them() -> None:
    kind = KINDS[0]
    proto = network(kind, kind.of, drawn(kind))
    softmax = next(n for n in proto.graph.node if n.op_type == "Softmax")
    softmax.attribute[0].i = 1  # over the heads

    channels = rp.analyze(proto, rp.Scope(residual="prune"))

    (layer,) = (k for k in channels.layers if k.name == "qkv")
    free = [g.units[g.free] for g in channels.groups]
    assert not any(np.isin(layer.out_ids, units).any() for units in free)
    assert any("mixes the channels" in lock.reason for lock in channels.locks)


def test_a_number_that_grows_with_the_images_is_not_written_down() -> None:
    """It is no multiple of a constant that could be rewritten: the heads stay, for any images."""
    kind = replace(
        IMAGES_TIMES_HEADS,
        body=IMAGES_TIMES_HEADS.body.replace(
            "nh = Mul (n, heads)", "some = Div (p0, five)  nh = Mul (n, some)"
        ),
        integers=lambda h: IMAGES_TIMES_HEADS.integers(h) | {"five": [P // H]},
    )
    proto = network(kind, H, drawn(kind))

    channels = rp.analyze(proto, rp.Scope(residual="prune"))

    free = np.concatenate([g.units[g.free] for g in channels.groups])
    by_name = {layer.name: layer for layer in channels.layers}
    assert not np.isin(by_name["q"].out_ids, free).any()
    assert any("would not follow the channels" in lock.reason for lock in channels.locks)
    assert np.isin(by_name["stem"].out_ids, free).all(), "others go"


def test_an_axis_that_loses_heads_loses_its_symbol() -> None:
    """Of two tensors with one symbol ONNX Runtime may let one take the other's memory."""
    proto = network(IMAGES_TIMES_HEADS, H, drawn(IMAGES_TIMES_HEADS))
    shapes = {"qh": ["heads of all images", P, D], "t": ["images", P, 6]}
    for name, shape in shapes.items():
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, 1, shape))

    settings = rp.Settings(sparsity=0.5, residual="prune", recover="none")
    pruned = rp.prune(proto, settings).model.proto

    declared = {v.name: v.type.tensor_type.shape.dim for v in pruned.graph.value_info}
    assert [(d.dim_param, d.dim_value) for d in declared["qh"]] == [("", 0), ("", P), ("", D)]
    assert declared["t"][0].dim_param == "images"
    assert declared["t"][2].dim_value < 6
