"""Reports, selections, places to write to, searches, and what other commands take and leave."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import onnx
import text_graphs
from onnx import TensorProto, numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.benchmark.candidate import read_engine
from reprune_onnx.benchmark.difference import difference
from reprune_onnx.choices import Reduction
from reprune_onnx.cli.training import _function
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.deployment.equal import compare
from reprune_onnx.pruner.allocate.allocation import allocate
from reprune_onnx.pruner.earlier import keep_by_cuts
from reprune_onnx.report.figure import check_plot, new_figure
from reprune_onnx.results import CutNetwork, Knowledge, TensorCut
from reprune_onnx.runtime.detector import Detector
from reprune_onnx.runtime.ort import Port
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.sweeps.run import _client
from reprune_onnx.targets import read_target
from reprune_onnx.training.plan import PrunePlan
from reprune_onnx.training.settings import TrainSettings, _shares
from reprune_onnx.verification.cut import verify_cut

CONV = "stage1.block1.conv1.weight"


def kept(p, report):
    return p.prune("--keep", p.text(json.dumps(report)))


def applied(p, axis, keep, weight=CONV, residual="keep"):
    graph = graph_of(p.model)
    channels = channels_of(graph, rp.Scope(residual=residual))
    cuts = [TensorCut(weight, axis, np.array(keep, dtype=np.int64))]
    return keep_by_cuts(graph, channels, cuts, "r.json")


def page(p, **content):
    return p("report", p.text(json.dumps(content)), "-o", p.tmp / "page.html")


def existing(p, *args):
    path = p.text("", ".onnx")
    return p(*args, path)


def unknown_sizes(p):
    graph = graph_of(p.model)
    channels = channels_of(graph, rp.Scope())
    layers = tuple(replace(layer, positions=0) for layer in channels.layers)
    wanted = Reduction("macs", 0.5)
    settings = rp.Settings(macs_reduction=0.5)
    return allocate(graph, replace(channels, layers=layers), settings, Knowledge({}), wanted)


def without(module, do):
    with mock.patch.dict(sys.modules, {module: None}):
        return do()


def picture_folder(file):
    file.mkdir()
    check_plot(file)


HALF = rp.Settings(sparsity=0.5)
PORT = Port("x", ("n", 3), np.dtype(np.float32))
RNG = np.random.default_rng(0)
BATCH = '<ir_version: 8, opset_import: ["": 17]> g (float[4,3,8,8] x) => (float[a,b,c,d] y) '


def report(p, **more):
    text = json.dumps(rp.prune(p.model, HALF).report)
    return json.loads(text) | more


def infinite(p):
    return onnx.load(p.graph("a = Conv(x, w) y = Div(a, n)", n=np.float32(0)))


def unrunnable(proto):
    node = next(n for n in proto.graph.node if n.op_type == "Gemm")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((3, 3), np.float32), "odd"))
    node.input[1] = "odd"


def fewer(proto):
    for t in proto.graph.initializer:
        if t.dims[0] == 10:
            array = numpy_helper.to_array(t)[:7]
            t.CopyFrom(numpy_helper.from_array(array, t.name))


def quantized(p):
    return p.graph("a = Conv(x, w) b = DequantizeLinear(a, s) y = Relu(b)", s=np.float32(1))


def looped():
    text = "a = Relu(b) b = Relu(a) y = Add(a, x)"
    return text_graphs.model(BATCH + "{" + text + "}")


def broken(p):
    graph = graph_of(p.model)
    channels = channels_of(graph, rp.Scope())
    keep = np.ones(channels.n_units, dtype=np.bool_)
    return CutNetwork(graph, channels, keep, rp.Model(onnx.load(p.altered(unrunnable))))


def external(p, dims, size):
    (p.tmp / "w.data").write_bytes(b"0" * size)

    def change(proto):
        t = proto.graph.initializer[0]
        t.ClearField("raw_data")
        t.ClearField("float_data")
        t.dims[:] = dims
        t.data_location = TensorProto.EXTERNAL
        t.external_data.add(key="location", value="w.data")

    return rp.load(p.altered(change))


ANY = '<ir_version: 8, opset_import: ["": 17]> g (float[n,3,8,8] x) => (float[a,b,c,d] y) '


def bundled(p, body):
    how = ("--target", "jetson-tx2", "-o", p.tmp / "out")
    return p("bundle", p.graph(body, ANY), *how)


def useless(p):
    """Eight random channels, none of which can be made up for: one less changes some answer."""
    body = "a = Conv(x, w) r = Relu(a) b = Conv(r, v) y = Flatten(b)"
    data = p.npz(x=RNG.random((180, 3, 8, 8), np.float32))
    model = p.graph(body, ANY.replace("[a,b,c,d]", "[a,b]"))
    return p.prune("--max-drop", 0.1, "--calibration", data, model=model)


def renumbered(p):
    """A pruned model, one of whose integers was changed since."""
    body = "a = Conv(x, w) b = Reshape(a, s) c = Relu(b) d = Reshape(c, t) y = Conv(d, v)"
    shapes = {"s": np.array([1, 8, 36]), "t": np.array([1, 8, 6, 6])}
    original, out = p.graph(body, **shapes), p.tmp / "small.onnx"
    p("prune", original, "--sparsity", 0.5, "-o", out)
    proto = onnx.load(out)
    tensor = next(t for t in proto.graph.initializer if t.name == "s")
    tensor.CopyFrom(numpy_helper.from_array(np.array([1, 4, -1]), "s"))
    onnx.save(proto, out)
    return p("verify", original, out)


def halved(p):
    """A network whose answers hang on the last bits of its numbers."""
    body = "a = Conv(x, w) b = Add(a, k) c = Sub(b, k) y = Conv(c, v)"
    model = p.graph(body, k=np.float32(2000))
    return p("convert", model, "--target", "cuda", "-o", p.tmp / "out.onnx")


ROWS = [
    (
        "' is a file; give the name of a folder",
        lambda p: p("sweep", p.demo, "--macs-reduction", 0.3, "-o", p.text("no folder", ".txt")),
    ),
    (
        "is read, so it is never written to",
        lambda p: p("prune", p.demo, "--sparsity", 0.5, "-o", p.demo),
    ),
    (
        ".onnx' exists; give another name",
        lambda p: p("convert", p.demo, "--target", "cpu", "-o", p.text("", ".onnx")),
    ),
    ("cannot be made ready for jetson-tx2", lambda p: bundled(p, "a = Conv(x, w) y = Shrink(a)")),
    (
        "for 4 images, so no row for each",
        lambda p: bundled(p, "a = Conv(x, w) y = ReduceMean <axes = [0]> (a)"),
    ),
    (
        "for an image where other images are in its batch",
        lambda p: bundled(p, "a = Conv(x, w) b = ReduceMean <axes = [0]> (a) y = Sub(a, b)"),
    ),
    ("even 1% fewer MACs lose", useless),
    ("random inputs may be beyond what the network takes", halved),
    ("integers of tensor 's' differ", renumbered),
    ("is not a report of this tool", lambda p: kept(p, {"cuts": [{"initializer": 1}]})),
    ("leaves no channel of a part of", lambda p: applied(p, 0, [], "stem.conv.weight", "prune")),
    ("which has 16 rows: it belongs to another model", lambda p: applied(p, 0, [0, 99])),
    (
        "exists; give another name, or --force to replace it",
        lambda p: existing(p, "prune", p.demo, "--sparsity", 0.5, "-o"),
    ),
    (
        ".html' exists; give another name, or --force",
        lambda p: p("report", p.text("{}"), "-o", p.text("x", ".html")),
    ),
    ("the target cpu has no int4", lambda p: read_target("cpu").rounding_in("int4")),
    (
        "give at least 150",
        lambda p: p.prune("--max-drop", 1, "--calibration", p.digits, "--calibration-size", 20),
    ),
    ("this version reads schema", lambda p: page(p, schema=99, cuts=[], layers=[])),
    ("has no 'source'", lambda p: page(p, cuts=[], layers=[])),
    ("'layers' is ", lambda p: page(p, **report(p, layers=1))),
    ("does not state the shape of input 'x'", lambda p: random_inputs([PORT], {}, RNG)),
    ("take a smaller --input-shape", lambda p: random_inputs([PORT], {"x": (2**14, 2**14)}, RNG)),
    ("the pruned model does not run", lambda p: verify_cut(broken(p))),
    ("nothing could be compared", lambda p: compare(infinite(p), infinite(p), {"x": (1, 3, 8, 8)})),
    (
        "the converted model does not run",
        lambda p: compare(p.model.proto, onnx.load(p.altered(unrunnable)), {"input": (1, 1, 8, 8)}),
    ),
    (
        "convert the float model it was made from",
        lambda p: p("convert", quantized(p), "--target", "cpu", "-o", p.tmp / "out.onnx"),
    ),
    (
        "give the name of a folder that does not",
        lambda p: p("bundle", p.demo, "--target", "jetson-tx2", "-o", p.tmp),
    ),
    (
        "--input-shape: no model has an input 'q'",
        lambda p: p("bench", p.demo, "--seconds", 0.01, "--input-shape", "q=1,1"),
    ),
    (
        "compare models of the same classes",
        lambda p: p.evaluate(p.digits, "--against", p.altered(fewer)),
    ),
    ("need each other in a cycle", lambda p: rp.analyze(rp.Model(looped()))),
    ("move the file", lambda p: p.prune("--sparsity", 0.5, "--custom-ops", p.text("", ":.so"))),
    (
        "export it with a batch of 1",
        lambda p: Detector(rp.load(p.graph("y = Relu(x)", BATCH)), Preprocess()),
    ),
    ("the file is truncated or belongs to another model", lambda p: external(p, [64], 8)),
    ("is of a type or shape that has no bytes", lambda p: external(p, [-1], 8)),
    ("numbers such as 0.5,0.75", lambda p: _shares("soon")),
    ("is not MODULE:FUNCTION", lambda p: _function("--data", "loss")),
    ("--epochs must be at least 1", lambda p: TrainSettings(epochs=0)),
    ("--warmup must not be negative", lambda p: TrainSettings(warmup=-1)),
    ("--ema 1", lambda p: TrainSettings(ema=1)),
    ("--lr must be above 0", lambda p: TrainSettings(lr=0)),
    ("--distill-weight 2 is outside [0, 1]", lambda p: TrainSettings(distill_weight=2)),
    ("--milestones are shares", lambda p: TrainSettings(milestones=(2.0,))),
    ("--schedule 'up' is not one of", lambda p: TrainSettings(schedule="up")),
    (
        "--min-channels 0: whole branches go with prune only",
        lambda p: PrunePlan(replace(HALF, min_channels=0), 2),
    ),
    ("--interval must be at least 1", lambda p: PrunePlan(HALF, 2, interval=0)),
    ("is not a multiple of --interval", lambda p: PrunePlan(HALF, 3)),
    ("--regrow 2 is outside [0, 1]", lambda p: PrunePlan(HALF, 2, regrow=2)),
    ("their images do not follow", unknown_sizes),
    (
        "has free sides: give them",
        lambda p: read_engine(
            p.demo, SimpleNamespace(inputs=[Port("x", (1, None), np.dtype("f4"))]), {}
        ),
    ),
    ("in a plain run on the CPU", lambda p: difference("m", {}, {"y": np.ones(2)})),
    ("it is a folder; give the name", lambda p: picture_folder(p.tmp / "rates.svg")),
    ("a plot needs matplotlib", lambda p: without("matplotlib.figure", lambda: new_figure(1, 1))),
    ("--scheduler needs Dask", lambda p: without("dask.distributed", lambda: _client("a:1"))),
    ("no Dask scheduler answers there", lambda p: _client("nothing://")),
]
