"""Networks of a few lines, and what the surgeon makes of them without some channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.results import Cut
from reprune_onnx.surgeon import cut

SHAPES = {"c_w": (4, 3, 1, 1), "d_w": (4, 4, 1, 1), "e_w": (4, 4, 1, 1), "head": (2, 4, 1, 1)}


def network(
    body: str, outputs: str = "float[n,k,h,w] y", opset: int = 17, ir: int = 8, **weights: Any
) -> onnx.ModelProto:
    """``body`` makes y of x; the weights of `SHAPES` that it reads are there."""
    text = f"""<ir_version: {ir}, opset_import: ["": {opset}]>
    g (float[1,3,8,8] x) => ({outputs}) {{ {body} }}"""
    rng = np.random.default_rng(3)
    drawn = {n: rng.standard_normal(s) for n, s in SHAPES.items() if n in body}
    return onnx.shape_inference.infer_shapes(model(text, **{**drawn, **weights}))


def cut_to(proto: onnx.ModelProto, **keep: list[int]) -> Cut:
    """Only these channels of the tensors that layers make stay; the result is a valid model."""
    original = rp.Model(proto)
    graph = graph_of(original)
    channels = channels_of(graph, rp.Scope(residual="prune"))
    kept = np.ones(channels.n_units, dtype=np.bool_)
    for name, which in keep.items():
        (layer,) = (k for k in channels.layers if graph.ops[k.node].outputs[0] == name)
        stays = np.isin(np.arange(len(layer.out_ids)), which)
        kept[layer.out_ids] = stays
        assert (kept[layer.out_ids] == stays).all(), "some of these channels go together"
    free = np.concatenate([g.units[g.free] for g in channels.groups])
    assert np.isin(np.flatnonzero(~kept), free).all(), "these channels may not go"
    before = proto.SerializeToString(deterministic=True)
    result = cut(original, graph, channels, kept)
    assert proto.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(result.model.proto, full_check=True)
    return result


def arrays(result: Cut) -> dict[str, np.ndarray]:
    """The initializers."""
    return {t.name: numpy_helper.to_array(t) for t in result.model.proto.graph.initializer}


def node(result: Cut, output: str) -> onnx.NodeProto:
    """The node that makes ``output``."""
    (maker,) = (n for n in result.model.proto.graph.node if output in n.output)
    return maker


def attributes(result: Cut, output: str) -> dict[str, Any]:
    """The attributes of the node that makes ``output``."""
    listed = node(result, output).attribute
    assert len({a.name for a in listed}) == len(listed)
    return {a.name: onnx.helper.get_attribute_value(a) for a in listed}
