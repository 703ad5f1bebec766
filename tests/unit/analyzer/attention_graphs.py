"""Networks of which one head, or channel, goes: by reprune-onnx and by hand.

Each kind is written for any number of heads or channels. Pruned by hand, it is the same text with
one less, and with weights from which its rows and columns are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.results import CutNetwork
from reprune_onnx.surgeon import cut
from reprune_onnx.verification.cut import verify_cut

H, D, P = 5, 4, 16  # heads, channels of each, positions
FEW = 3  # heads, of more channels each: then the same places of every head go
START = """[stem] f = Conv <pads = [1,1,1,1]> (x, f_w)  r = Reshape (f, flat)
  t = Transpose <perm = [0,2,1]> (r)"""
TURN = "Transpose <perm = [0,1,3,2]>"


Within = int | tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """``body`` makes y; ``integers`` are those of ``n`` heads, or channels, of ``of``.

    ``weights`` have a shape each, and per axis the blocks that hold these heads: (axis, blocks
    around, channels within; of each block, where these are not the same). HEADS in ``body`` stands
    for the number of heads, TWICE for twice as many. ONNX Runtime runs it ``since`` a version. The
    number of ``images`` is 1, or left open by a letter.
    """

    name: str
    of: int
    layer: str
    body: str
    integers: Callable[[int], dict[str, list[int]]]
    weights: dict[str, tuple[tuple[int, ...], list[tuple[int, int, Within]]]]
    blocks: int  # around the heads among the channels of ``layer``
    within: Within  # channels of one head there
    opset: int = 17
    since: str = "1.20"
    images: str = "1"


TABLES = {
    "cosines": np.cos(np.arange(P * D // 2).reshape(P, D // 2) / 7).astype(np.float32),
    "sines": np.sin(np.arange(P * D // 2).reshape(P, D // 2) / 7).astype(np.float32),
    "wide_cosines": np.cos(np.arange(P * 8).reshape(P, 8) / 7).astype(np.float32),
    "wide_sines": np.sin(np.arange(P * 8).reshape(P, 8) / 7).astype(np.float32),
    "places": np.arange(P, dtype=np.int64)[None],
    "lengths": np.array([P - 1], np.int32),
    "longest": np.array(P, np.int32),
}


def drawn(kind: Kind) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape) for name, (shape, _) in kind.weights.items()}


def positions(n: int, gone: int, blocks: int, within: Within) -> np.ndarray:
    """Where the channels of head ``gone`` lie among ``blocks`` times ``n`` heads."""
    sizes = (within,) * blocks if isinstance(within, int) else within
    starts = np.cumsum([0, *(n * size for size in sizes[:-1])])
    return np.concatenate(
        [a + gone * size + np.arange(size) for a, size in zip(starts, sizes, strict=True)]
    )


def network(kind: Kind, n: int, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    body = kind.body.replace("HEADS", str(n)).replace("TWICE", str(2 * n))
    text = f"""<ir_version: 10, opset_import: ["": {kind.opset}, "com.microsoft": 1]>
    g (float[{kind.images},3,4,4] x) => (float[] y) {{ {body} }}"""
    integers = {"thirds": [D] * 3, "pads": [0, 0, 0, 0, 0, 0, 1, 0], "c0": [0], "c1": [1]}
    integers |= {"c_1": [-1], "c2": [2], "end": [2**31], **kind.integers(n)}
    scalars = {f"i{k}": np.int64(k) for k in range(3)}
    floats = {"one": np.float32(1), "eps": np.float32(0.5)}
    arrays = {name: np.array(v, np.int64) for name, v in integers.items()}
    initializers = {**arrays, **scalars, **floats, **TABLES, **weights}
    return model(text, **{name: a for name, a in initializers.items() if name in kind.body})


def by_hand(kind: Kind, gone: int) -> onnx.ModelProto:
    weights = drawn(kind)
    for name, (_, axes) in kind.weights.items():
        for axis, blocks, within in axes:
            places = positions(kind.of, gone, blocks, within)
            weights[name] = np.delete(weights[name], places, axis=axis)
    return network(kind, kind.of - 1, weights)


def ran(proto: onnx.ModelProto) -> np.ndarray:
    images = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 2
    x = np.random.default_rng(1).standard_normal((images, 3, 4, 4)).astype(np.float32)
    options = ort.SessionOptions()  # 1.20 fuses nodes without a name into several of one name
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    (y,) = ort.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})
    return y


def goes_as_by_hand(kind: Kind) -> None:
    """One head, or channel, goes, and the result is what a person would have written."""
    proto = network(kind, kind.of, drawn(kind))
    graph = graph_of(proto)
    channels = channels_of(graph, rp.Scope(residual="prune"))
    (layer,) = (k for k in channels.layers if k.name == kind.layer)
    gone = layer.out_ids[positions(kind.of, 1, kind.blocks, kind.within)]
    keep = np.ones(channels.n_units, dtype=np.bool_)
    keep[gone] = False

    assert (~keep).sum() == 1, "all of a head is one unit"
    assert keep[layer.out_ids].sum() == len(layer.out_ids) - len(gone)
    assert any(np.isin(gone, g.units[g.free]).all() for g in channels.groups)
    result = cut(rp.Model(proto), graph, channels, keep).model
    made, right, wrong = ran(result.proto), ran(by_hand(kind, 1)), ran(by_hand(kind, 2))
    np.testing.assert_allclose(made, right, rtol=1e-4, atol=1e-5)
    assert np.abs(made - wrong).max() > 1e-2
    assert verify_cut(CutNetwork(graph, channels, keep, result)).passed
