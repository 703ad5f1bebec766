"""Notes, each with words that say what was assumed or left out, and what the reader can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import text_graphs
from onnx import numpy_helper
from PIL import Image

import reprune_onnx as rp
from reprune_onnx.activations.generated.choose import ChosenImages
from reprune_onnx.activations.generated.make import Generated
from reprune_onnx.activations.generated.range import Range
from reprune_onnx.activations.generated.refined import Refined
from reprune_onnx.activations.measurable import told
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.benchmark.row import warning
from reprune_onnx.data.generated.generate import Recipe
from reprune_onnx.data.open import open_data
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.int8 import stage
from reprune_onnx.latency.table import LatencyTable, Row
from reprune_onnx.report.missing import missing
from reprune_onnx.search import latency, without_images
from reprune_onnx.tasks import reading

Notes = Iterable[str]
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,8,8] x) => (float[] y) '
NET = """{ [a] h = Conv <pads = [1,1,1,1]> (x, w) r = Relu (h)
    [b] s = Conv <pads = [1,1,1,1]> (r, v) y = Relu (s) }"""
IF = """{ m = ReduceMean <keepdims = 0> (x) low = Less (m, zero) c = Conv (x, first)
    z = If (low) <then_branch = yes () => (float[n,6,8,8] a) { b = Conv (c, w1) a = Relu (b) },
        else_branch = no () => (float[n,6,8,8] e) { d = Conv (c, w2) e = Relu (d) }>
    y = Conv (z, last) }"""
LOOP = """{ c = Conv (x, first)
    z = Loop (three, , c) <body = again (int64 i, bool on, float[n,6,8,8] a) =>
        (bool more, float[n,6,8,8] b) { more = Identity (on) d = Conv (a, w1) b = Relu (d) }>
    y = Conv (z, last) }"""
OPEN_LOOP = (
    LOOP.replace("{ c", "{ m = ReduceMax <keepdims = 0> (x) k = Cast <to = 7> (m) c")
    .replace("{ c", "{ m = ReduceMax <keepdims = 0> (x) k = Cast <to = 7> (m) c")
    .replace("Loop (three", "Loop (k")
)
rng = np.random.default_rng(0)
WEIGHTS = {
    "w": rng.standard_normal((8, 3, 3, 3)),
    "v": rng.standard_normal((6, 8, 3, 3)),
    "first": rng.standard_normal((6, 3, 1, 1)),
    "w1": rng.standard_normal((6, 6, 1, 1)),
    "w2": rng.standard_normal((6, 6, 1, 1)),
    "last": rng.standard_normal((4, 6, 1, 1)),
    "zero": np.float32(0),
    "three": np.int64(3),
}

WIDE = rng.standard_normal((32, 3, 3, 3)), rng.standard_normal((6, 32, 3, 3))


def network(body: str = NET, head: str = HEAD, **more: Any) -> onnx.ModelProto:
    used = {n: a for n, a in WEIGHTS.items() if f"{n})" in body or f"({n}," in body}
    return text_graphs.model(head + body, **used | more)


def report(proto: onnx.ModelProto | None = None, **options: Any) -> list[str]:
    """The notes of a pruning that is neither proven nor recovered."""
    settings = {"sparsity": 0.5, "recover": "none", "verify": False, "method": "l1"}
    asked = rp.Settings(**settings | {"residual": "prune"} | options)
    return rp.prune(network() if proto is None else proto, asked).report["notes"]


def followed(body: str) -> Any:
    model = rp.Model(network(body))
    graph = graph_of(model)
    return model, graph, channels_of(graph, rp.Scope())


def equal_norms(tmp):
    return report(network(w=np.ones((8, 3, 3, 3))))


def measured(tmp):
    np.savez(tmp / "x.npz", x=rng.standard_normal((80, 3, 8, 8)).astype(np.float32))
    return report(calibration=tmp / "x.npz", recover="least-squares", method="reprune")


def missed_least(tmp):
    np.savez(tmp / "x.npz", x=rng.standard_normal((80, 3, 8, 8)).astype(np.float32))
    v = WEIGHTS["v"] * np.geomspace(1, 1e-3, 8)[:, None, None]  # some channels are hardly read
    return report(network(v=v), calibration=tmp / "x.npz", method="auto")


def with_statistics():
    body = NET.replace("r = Relu (h)", "n = BatchNormalization (h, g, z, m, o) r = Relu (n)")
    zeros, means, ones = np.zeros(8), np.full(8, 0.1), np.full(8, 0.5)
    return network(body, g=np.arange(1.0, 9), z=zeros, m=means, o=ones)


def by_gamma(tmp):
    return report(with_statistics())


def branch_not_looked_at(tmp):
    _, graph, channels = followed(IF)
    return told(rp.Model(network(IF)), graph, channels)


def branches_looked_at(tmp):
    _, graph, channels = followed(IF)
    return told(rp.Model(graph.proto), graph, channels)


def sizes_not_known(tmp):
    body = """{ p = NonZero (x) q = Cast <to = 1> (p) t = Transpose (q)
        [rows] h = MatMul (t, in) y = MatMul (h, out) }"""
    weights = {"in": rng.standard_normal((4, 8)), "out": rng.standard_normal((8, 2))}
    model = rp.Model(network(body, **weights))
    graph = graph_of(model)
    layer = SimpleNamespace(name="rows", positions=0)
    return missing(graph, SimpleNamespace(layers=[layer], branches=()))


def layers_in_branches(tmp):
    _, graph, channels = followed(IF)
    return missing(graph, channels)


def layers_in_a_loop(tmp):
    _, graph, channels = followed(OPEN_LOOP)
    return missing(graph, channels)


def statistics(tmp):
    body = NET.replace("r = Relu (h)", "m = ReduceMean <axes = [1]> (h) r = Sub (h, m)")
    return report(network(body), norm_statistics="kept")


def sparse(tmp):
    proto = network()
    dense = next(t for t in proto.graph.initializer if t.name == "w")
    values = numpy_helper.to_array(dense).ravel()
    proto.graph.initializer.remove(dense)
    tensor = proto.graph.sparse_initializer.add(dims=dense.dims)
    tensor.values.CopyFrom(numpy_helper.from_array(values, "w"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.arange(values.size), "i"))
    return report(proto)


def unsorted(tmp):
    proto = network()
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[::-1])
    path = tmp / "unsorted.onnx"
    path.write_bytes(proto.SerializeToString())
    return report(path)


def fitted_sizes(tmp):
    body = NET.replace("y = Relu (s)", "y = Reshape (s, to)")
    return report(network(body, HEAD.replace("8,8] x", "h,h] x"), to=np.array([-1, 6, 1600])))


def timed(tmp, monkeypatch, model=None, **options):
    rows = [Row("a", 8, 3, 4.0), Row("b", 6, 8, 4.0)]
    table = LatencyTable(tuple(rows))
    monkeypatch.setattr(latency, "measure_layers", lambda *_: table)
    monkeypatch.setattr(latency, "read_table", lambda _: table)
    monkeypatch.setattr(latency, "latencies", lambda models, _: [8.0, 6.0][: len(models)])
    return report(model, sparsity=None, latency_reduction=0.25, **options)


def by_table(tmp, monkeypatch):
    return timed(tmp, monkeypatch, latency_table=tmp / "t.json")


def by_time(tmp, monkeypatch):
    return timed(tmp, monkeypatch, model=network(NET, w=WIDE[0], v=WIDE[1]))


def large_photo(tmp):
    Image.new("RGB", (64, 64)).save(tmp / "large.png")
    return open_data(str(tmp), input_shape=(1, 3, 8, 8)).notes


def generated(by: str) -> Generated:
    values = Range(Preprocess(), by, "the statistics of 'b' say so")
    choice = ChosenImages(np.arange(3), 9, "statistics", 0.5, 0.25)
    return Generated(Recipe(3, (8, 8)), 3, values, choice, Refined(0.5, 0.1))


def black_and_white_masks(tmp, monkeypatch):
    monkeypatch.setattr(reading, "black_and_white", lambda _: True)
    monkeypatch.setattr(reading, "classes_of", lambda *_: 2)
    task = SimpleNamespace(labels=SimpleNamespace(beside="masks"))
    return reading.reading_of(None, task, (None, None), None, None)[1]


def noisy(tmp):
    row = {"noisy": True, "model": "m", "batch_size": 1, "latency_ms": {"iqr": 3.0, "median": 4.0}}
    return warning([row])


def images_that_do_not_serve(tmp):
    return rp.prune(network(), rp.Settings(sparsity=0.5)).report["notes"]


def both_ways(monkeypatch, generated: float) -> Notes:
    """A pruning in both ways, whose errors on held-out images are these."""
    errors = {"generated": generated, "data-free": 0.5}
    monkeypatch.setattr(without_images, "_errors", lambda *_: errors)
    monkeypatch.setattr(without_images, "_images", lambda *_: 40)
    monkeypatch.setattr(without_images, "_sure", lambda seen: seen.images.generated)
    return rp.prune(with_statistics(), rp.Settings(sparsity=0.5)).report["notes"]


def images_taken(tmp, monkeypatch):
    return both_ways(monkeypatch, 0.1)


def images_left(tmp, monkeypatch):
    return both_ways(monkeypatch, 0.9)


def entry_of_int8(measure, *floats):
    layers = [{"node": name, "loss": 0.1, "in_float": name in floats} for name in ("a", "b", "c")]
    return stage.notes_of({"measure": measure, "layers": layers})


ROWS: list[tuple[str, Callable[..., Notes]]] = [
    ("follow norms of filters, for want of |γ| (allocation bn-gamma)", lambda tmp: report()),
    ("follow |γ| (allocation bn-gamma): there are no --calibration images", by_gamma),
    ("all norms of filters, for want of |γ| are equal, so they say nothing", equal_norms),
    ("--coverage count is the paper's", measured),
    ("follow the losses measured on images (allocation sensitivity)", measured),
    ("in 1 of 1 groups of layers the channels go that the next layers miss least", missed_least),
    ("2 layers in branches of If could not be measured", branch_not_looked_at),
    ("2 layers in branches of If saw all images, also those", branches_looked_at),
    ("1 loop that runs a fixed number of times: written out", lambda tmp: report(network(LOOP))),
    ("such as 'rows': multiply-adds of these are not counted (--input-shape", sizes_not_known),
    ("2 branches of If hold layers: a run takes one branch", layers_in_branches),
    ("stands in a body of Loop, which is not looked into (loops are", layers_in_a_loop),
    ("statistics over the channels that are left, and so does the masked original", statistics),
    ("1 sparse tensor of the file, such as 'w', is cut and written dense", sparse),
    ("behind nodes that read what they make: OUT holds all nodes in order", unsorted),
    ("x = 1×3×40×40 fits, and x = 1×3×224×224, which is assumed, does not", fitted_sizes),
    ("the latency is estimated from 't.json', not measured", by_table),
    ("others take longer; --round-to 1 allows any", by_time),
    ("large.png: 64×64 to 8×8); --preprocess size=…;crop=… says otherwise", large_photo),
    ("own images, without labels, do better (--calibration", lambda tmp: generated("given").notes),
    ("is taken to want 8-bit images with --preprocess", lambda tmp: generated("statistics").notes),
    ("3 of 9 generated images were taken, which give all", lambda tmp: generated("given").notes),
    ("the generated images were refined by gradient until", lambda tmp: generated("given").notes),
    ("the masks hold 0 and 255 only: 255 is taken as class 1", black_and_white_masks),
    ("stop what else runs here, and measure again", noisy),
    ("no image was given, and generated ones do not serve: nothing in", images_that_do_not_serve),
    ("of their variance, and 0.5 without them; your own images do", images_taken),
    ("but not used: on ", images_left),
    ("1 of 3 layers, such as b, stays in float", lambda tmp: entry_of_int8("accuracy", "b")),
    ("no classifier, so that its rows have no score", lambda tmp: entry_of_int8(None)),
]
