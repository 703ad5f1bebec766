"""Small networks of which chosen channels are cut, and what recovery makes of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Recover
from reprune_onnx.recovery import recover
from reprune_onnx.results import CutNetwork, Recovery
from reprune_onnx.runtime.ort import Session
from reprune_onnx.surgeon import cut
from reprune_onnx.types import Bools, ChannelMap

SIDE = 8
Array = np.ndarray[Any, np.dtype[Any]]


def network(
    body: str, weights: dict[str, Any], opset: int = 17, domains: str = ""
) -> onnx.ModelProto:
    """``body`` makes y of x (n, 3, 8, 8)."""
    others = f", {domains}" if domains else ""
    text = f"""<ir_version: 8, opset_import: ["": {opset}{others}]>
    g (float[n,3,{SIDE},{SIDE}] x) => (float[] y) {{ {body} }}"""
    return onnx.shape_inference.infer_shapes(model(text, **weights))


def normal(*shape: int, seed: int = 0) -> Array:
    """Weights that keep activations near 1."""
    rng = np.random.default_rng([seed, *shape])
    return rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))


def images(n: int = 64, seed: int = 0, batch: int = 8) -> Images:
    """Smooth in space, as images are, so that layers see what they can predict."""
    x = np.random.default_rng(seed).standard_normal((n, 3, SIDE, SIDE))
    x = (x + np.roll(x, 1, 2) + np.roll(x, 1, 3) + np.roll(x, (1, 1), (2, 3))).astype(np.float32)
    return Images("random", tuple({"x": x[k : k + batch]} for k in range(0, n, batch)), n)


@dataclass(frozen=True)
class Pruned:
    """A network and what is left of it without some channels."""

    original: rp.Model
    model: rp.Model
    graph: Graph
    channels: ChannelMap
    keep: Bools

    def recover(self, method: Recover = "least-squares", data: Images | None = None) -> Recovery:
        return recover(self.network, method, data)

    @property
    def network(self) -> CutNetwork:
        return CutNetwork(self.graph, self.channels, self.keep, self.model)


def prune(proto: onnx.ModelProto, **drop: list[int]) -> Pruned:
    """Without these channels of the tensors that layers make."""
    scope = rp.Scope(residual="prune", input_shapes={"x": (1, 3, SIDE, SIDE)})
    original = rp.Model(proto)
    graph = graph_of(original)
    channels = channels_of(graph, scope)
    keep = np.ones(channels.n_units, dtype=np.bool_)
    for name, which in drop.items():
        (layer,) = (x for x in channels.layers if graph.ops[x.node].outputs[0] == name)
        keep[layer.out_ids[which]] = False
    locked = np.ones_like(keep)
    for g in channels.groups:
        locked[g.units[g.free]] = False
    assert not (locked & ~keep).any(), "these channels may not go"
    return Pruned(original, cut(original, graph, channels, keep).model, graph, channels, keep)


def values(proto: onnx.ModelProto) -> dict[str, Array]:
    """Initializers by name."""
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def outputs(proto: onnx.ModelProto, data: Images, name: str = "y") -> Array:
    """A tensor for all images, channels first."""
    session = Session(proto, optimize=False, outputs=[name])
    return np.concatenate([session.run(feeds)[name] for feeds in data.batches])


def error(a: rp.Model, b: rp.Model, data: Images, name: str = "y") -> float:
    """The mean squared difference of a tensor, relative to its variance."""
    x, y = (outputs(m.proto, data, name).astype(np.float64) for m in (a, b))
    return float(((x - y) ** 2).mean() / x.var())
