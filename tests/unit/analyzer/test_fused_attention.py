"""Attention as one node, of com.microsoft and of ONNX: heads go whole, and its numbers follow."""

from __future__ import annotations

import numpy as np
import pytest
from attention_graphs import START, D, H, Kind, P, drawn, goes_as_by_hand, network
from onnx.helper import make_tensor_value_info
from ort_version import ort_is_older_than

import reprune_onnx as rp

QKV = "  ".join(f"[{x}] {x} = MatMul (t, {x}_w)" for x in "qkv")
END = "  y = MatMul (o, o_w)"
APART = """  q4 = Reshape (q, many)  k4 = Reshape (k, few)  v4 = Reshape (v, few)
    qh = Transpose <perm = [0,2,1,3]> (q4)  kh = Transpose <perm = [0,2,1,3]> (k4)
    vh = Transpose <perm = [0,2,1,3]> (v4)"""
BACK = "  w = Transpose <perm = [0,2,1,3]> (a)  o = Reshape (w, joined)"
WIDE = 16  # a head that GroupQueryAttention turns has a multiple of 16 channels
PAST = {"past_k": (1, H, 4, 16), "past_v": (1, H, 4, 16)}
STEM = {"f_w": ((6, 3, 3, 3), [])}
OUT = {"o_w": ((H * D, 5), [(0, 1, D)])}


def matrices(times: int = 1, d: int = D) -> dict:
    """Weights of queries of ``times`` as many heads, keys and values, and behind attention."""
    wide = {"q_w": ((6, times * H * d), [(1, 1, times * d)])}
    narrow = {f"{x}_w": ((6, H * d), [(1, 1, d)]) for x in "kv"}
    return {**STEM, **wide, **narrow, "o_w": ((times * H * d, 5), [(0, 1, times * d)])}


def flat(_: int) -> dict[str, list[int]]:
    return {"flat": [1, 6, P]}


def apart(times: int):
    return lambda h: {
        "flat": [1, 6, P],
        "many": [1, P, times * h, D],
        "few": [1, P, h, D],
        "joined": [1, P, times * h * D],
    }


KINDS = [
    Kind(
        "com.microsoft's Attention",
        H,
        "qkv",
        START + "[qkv] o = com.microsoft.Attention <num_heads = HEADS> (t, qkv_w, qkv_b)" + END,
        flat,
        {**STEM, "qkv_w": ((6, 3 * H * D), [(1, 3, D)]), "qkv_b": ((3 * H * D,), [(0, 3, D)])}
        | OUT,
        3,
        D,
    ),
    Kind(
        "com.microsoft's Attention with a bias for every head and a scale",
        H,
        "qkv",
        START
        + """[qkv] o = com.microsoft.Attention <num_heads = HEADS, scale = 0.3>
        (t, qkv_w, qkv_b, "", "", bias)"""
        + END,
        flat,
        {
            **STEM,
            "qkv_w": ((6, 3 * H * D), [(1, 3, D)]),
            "qkv_b": ((3 * H * D,), [(0, 3, D)]),
            "bias": ((1, H, P, P), [(1, 1, 1)]),
        }
        | OUT,
        3,
        D,
    ),
    Kind(
        "com.microsoft's MultiHeadAttention",
        H,
        "q",
        START + QKV + "o = com.microsoft.MultiHeadAttention <num_heads = HEADS> (q, k, v, b)" + END,
        flat,
        {**matrices(), "b": ((3 * H * D,), [(0, 3, D)])},
        1,
        D,
    ),
    Kind(
        "com.microsoft's MultiHeadAttention with a bias for every head",
        H,
        "q",
        START
        + QKV
        + """o = com.microsoft.MultiHeadAttention <num_heads = HEADS>
        (q, k, v, "", "", bias)"""
        + END,
        flat,
        {**matrices(), "bias": ((1, H, P, P), [(1, 1, 1)])},
        1,
        D,
    ),
    Kind(
        "com.microsoft's MultiHeadAttention whose keys and values have an axis of heads",
        H,
        "q",
        START
        + QKV
        + APART
        + "o = com.microsoft.MultiHeadAttention <num_heads = HEADS> (q, kh, vh)"
        + END,
        apart(1),
        matrices(),
        1,
        D,
    ),
    Kind(
        "com.microsoft's RotaryEmbedding before MultiHeadAttention",
        H,
        "q",
        START
        + QKV
        + """qr = com.microsoft.RotaryEmbedding (q, places, cosines, sines)
        kr = com.microsoft.RotaryEmbedding <num_heads = HEADS> (k, places, cosines, sines)
        o = com.microsoft.MultiHeadAttention <num_heads = HEADS> (qr, kr, v)"""
        + END,
        flat,
        matrices(),
        1,
        D,
    ),
    Kind(
        "com.microsoft's GroupQueryAttention",
        H,
        "q",
        START
        + QKV
        + """o, pk, pv = com.microsoft.GroupQueryAttention
        <num_heads = TWICE, kv_num_heads = HEADS> (q, k, v, "", "", lengths, longest)"""
        + END,
        flat,
        matrices(2, WIDE),
        1,
        2 * WIDE,
    ),
    Kind(
        "com.microsoft's GroupQueryAttention of all three in one input, with a sink",
        H,
        "qkv",
        START
        + """[qkv] m = MatMul (t, qkv_w)  o, pk, pv = com.microsoft.GroupQueryAttention
        <num_heads = HEADS, kv_num_heads = HEADS, do_rotary = 1>
        (m, "", "", "", "", lengths, longest, wide_cosines, wide_sines, "", bias, sink)"""
        + END,
        flat,
        {
            **STEM,
            "qkv_w": ((6, 3 * H * WIDE), [(1, 3, WIDE)]),
            "bias": ((1, H, P, P), [(1, 1, 1)]),
            "sink": ((H,), [(0, 1, 1)]),
            "o_w": ((H * WIDE, 5), [(0, 1, WIDE)]),
        },
        3,
        WIDE,
        since="1.23",
    ),
    Kind(
        "Attention",
        H,
        "q",
        START + QKV + "o = Attention <q_num_heads = HEADS, kv_num_heads = HEADS> (q, k, v)" + END,
        flat,
        matrices(),
        1,
        D,
        23,
        "1.23",
    ),
    Kind(
        "Attention with two heads of queries for each of keys, and a bias for every head",
        H,
        "q",
        START
        + QKV
        + """o = Attention <q_num_heads = TWICE, kv_num_heads = HEADS, scale = 0.4>
        (q, k, v, bias)"""
        + END,
        flat,
        {**matrices(2), "bias": ((2 * H, P, P), [(0, 1, 2)])},
        1,
        2 * D,
        23,
        "1.23",
    ),
    Kind(
        "Attention with one head of keys for all heads of queries",
        H,
        "q",
        START + QKV + "o = Attention <q_num_heads = HEADS, kv_num_heads = 1> (q, k, v)" + END,
        flat,
        {
            **STEM,
            "q_w": ((6, H * D), [(1, 1, D)]),
            "k_w": ((6, D), []),
            "v_w": ((6, D), []),
            "o_w": ((H * D, 5), [(0, 1, D)]),
        },
        1,
        D,
        23,
        "1.23",
    ),
    Kind(
        "Attention whose heads lie along an axis",
        H,
        "q",
        START + QKV + APART + "a = Attention (qh, kh, vh)" + BACK + END,
        apart(2),
        matrices(2),
        1,
        2 * D,
        24,
        "1.24",
    ),
    Kind(
        "RotaryEmbedding before Attention",
        H,
        "q",
        START
        + QKV
        + """qr = RotaryEmbedding <num_heads = HEADS> (q, cosines, sines, places)
        kr = RotaryEmbedding <num_heads = HEADS, interleaved = 0> (k, cosines, sines, places)
        o = Attention <q_num_heads = HEADS, kv_num_heads = HEADS> (qr, kr, v)"""
        + END,
        flat,
        matrices(),
        1,
        D,
        23,
        "1.23",
    ),
    Kind(
        "RotaryEmbedding of heads along an axis",
        H,
        "q",
        START
        + QKV
        + APART
        + """qr = RotaryEmbedding (qh, cosines, sines, places)
        a = Attention (qr, kh, vh)"""
        + BACK
        + END,
        apart(1),
        matrices(),
        1,
        D,
        23,
        "1.23",
    ),
]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            id=kind.name,
            marks=pytest.mark.skipif(
                ort_is_older_than(kind.since),
                reason=f"ONNX Runtime {kind.since} is the first that computes it",
            ),
        )
        for kind in KINDS
    ],
)
def test_a_head_goes_as_by_hand(kind: Kind) -> None:
    goes_as_by_hand(kind)


def test_images_measure_what_the_layer_makes_and_no_queries() -> None:
    """Of three rows for each head two are in no tensor: |γ| is that of the weights."""
    kind = KINDS[0]
    proto = network(kind, kind.of, drawn(kind))
    images = np.random.default_rng(2).standard_normal((8, 3, 4, 4)).astype(np.float32)
    settings = rp.Settings(
        sparsity=0.4, allocation="uniform", recover="least-squares", calibration=images
    )
    report = rp.prune(rp.Model(proto), settings).report
    assert report["verification"]["passed"]
    layer = next(x for x in report["layers"] if x["node"] == "qkv")
    assert layer["gamma_source"] == "weights"
    assert layer["out_channels"][1] == (H - 2) * 3 * D


@pytest.mark.parametrize("attribute", ["kv_num_heads", "q_num_heads"])
def test_heads_without_their_number_stay(attribute: str) -> None:
    """The file is not valid; a node that no run computes must not be cut by a guess."""
    kind = next(k for k in KINDS if k.name == "Attention")
    proto = network(kind, kind.of, drawn(kind))
    node = next(n for n in proto.graph.node if n.op_type == "Attention")
    node.attribute.remove(next(a for a in node.attribute if a.name == attribute))
    channels = rp.analyze(proto, rp.Scope(residual="prune"))
    assert not free(channels, "q")
    assert any("Attention" in lock.reason for lock in channels.locks)


def test_heads_of_which_the_past_is_an_input_stay() -> None:
    kind = next(k for k in KINDS if k.name == "com.microsoft's GroupQueryAttention")
    proto = network(kind, kind.of, drawn(kind))
    shape = [1, H, "past", WIDE]
    for i, name in ((3, "past_k"), (4, "past_v")):
        proto.graph.input.append(make_tensor_value_info(name, 1, shape))
        next(n for n in proto.graph.node if n.op_type == "GroupQueryAttention").input[i] = name
    channels = rp.analyze(proto, rp.Scope(residual="prune", input_shapes=PAST))
    assert not free(channels, "q") and not free(channels, "v")
    assert any("graph input 'past_k' stay" in lock.reason for lock in channels.locks)


def free(channels: rp.ChannelMap, layer: str) -> bool:
    """Whether channels of the layer can go."""
    (made,) = (k.out_ids for k in channels.layers if k.name == layer)
    return any(np.isin(made, g.units[g.free]).any() for g in channels.groups)
