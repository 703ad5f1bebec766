"""Options out of range, and files that options name."""

import numpy as np

import reprune_onnx as rp
from reprune_onnx.benchmark.settings import BenchSettings
from reprune_onnx.data.generated.spec import check_families, parse_generated
from reprune_onnx.deployment.engine import BuildOptions
from reprune_onnx.int8.stage import check_int8
from reprune_onnx.pruner.allocate.sparsity import exact
from reprune_onnx.shapes import parse_input_shapes

CIFAR = ("--preprocess", "cifar10")
HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,8,8] x) => (float[a,b,c,d] y) '
NORM = {"g": np.ones(8), "b": np.zeros(8), "m": np.ones(8), "s": np.ones(8)}
BY_BYTES = "f = Cast <to = 1> (x) h = Conv (f, w) n = BatchNormalization (h, g, b, m, s)"


def refined(p, head, body, **more):
    model = p.graph(f"{body} r = Relu (n) y = Conv (r, v)", head, **more)
    return p.prune("--sparsity", 0.5, "--calibration", "generated:refined:8", model=model)


def swept(p, **more):
    return rp.sweep(p.demo, p.tmp / "sweep", rp.Settings(macs_reduction=0.3, **more), {})


ROWS = [
    ("give exactly one of --sparsity", lambda p: rp.Settings()),
    ("--memory '2X' is no size", lambda p: rp.Settings(sparsity=0.5, memory="2X")),
    ("--sparsity 1 is outside [0, 1)", lambda p: rp.Settings(sparsity=1.0)),
    ("must be at least 0 and less than 1", lambda p: exact(1.5)),
    ("--macs-reduction 0 is outside (0, 1)", lambda p: rp.Settings(macs_reduction=0.0)),
    ("--max-drop 100 is outside", lambda p: rp.Settings(max_drop=100)),
    (
        "--latency-table goes with --latency-reduction",
        lambda p: rp.Settings(sparsity=0.5, latency_table=p.demo),
    ),
    ("--precision is that of a --target", lambda p: rp.Settings(sparsity=0.5, precision="fp16")),
    (
        "--method 'best' is not one of auto, reprune",
        lambda p: rp.Settings(sparsity=0.5, method="best"),
    ),
    ("--min-channels -1 must be at least 0", lambda p: rp.Settings(sparsity=0.5, min_channels=-1)),
    ("--round-to 0 must be at least 1", lambda p: rp.Settings(sparsity=0.5, round_to=0)),
    ("of channels is not negative", lambda p: rp.Settings(sparsity=0.5, layer=(("a", -1),))),
    ("--jobs is a number of processes", lambda p: rp.Settings(sparsity=0.5, jobs=0)),
    ("--seed -1 must not be negative", lambda p: rp.Settings(sparsity=0.5, seed=-1)),
    ("--max-drop needs images", lambda p: rp.Settings(max_drop=1)),
    ("needs images", lambda p: rp.Settings(sparsity=0.5, recover="least-squares")),
    ("--then 'int9' is not one of int8", lambda p: rp.Settings(sparsity=0.5, then="int9")),
    (
        "(or generated, or leave --recover out)",
        lambda p: rp.Settings(sparsity=0.5, then="int8", recover="data-free"),
    ),
    (
        "counts what is detected on images of your own",
        lambda p: rp.Settings(sparsity=0.5, then="int8", task="detection"),
    ),
    ("a sweep does not quantize", lambda p: swept(p, then="int8")),
    (
        "--task and --decode go with --max-drop, --search or --then",
        lambda p: p.prune("--sparsity", 0.5, "--task", "regression"),
    ),
    (
        "writes a file for ONNX Runtime, and rtx-a6000 builds",
        lambda p: check_int8(p.model, rp.Settings(sparsity=0.5, target="rtx-a6000", then="int8")),
    ),
    ("is not GLOB=N", lambda p: p.prune("--sparsity", 0.5, "--layer", "conv")),
    ("is not NAME=1,3,224,224", lambda p: parse_input_shapes(["x"])),
    ("give it once", lambda p: parse_input_shapes(["x=1", "x=2"])),
    ("the model has no input", lambda p: p("analyze", p.demo, "--input-shape", "z=1,1,8,8")),
    ("has rank 3", lambda p: p("analyze", p.demo, "--input-shape", "input=1,8,8")),
    (
        "change only the symbolic extents",
        lambda p: p("analyze", p.demo, "--input-shape", "input=1,9,8,8"),
    ),
    ("is not known", lambda p: rp.Settings(sparsity=0.5, target="toaster")),
    ("--backend 'gpu' is not one of", lambda p: BenchSettings(backend="gpu")),
    ("a batch holds at least 1 image", lambda p: BenchSettings(batch_sizes=(0,))),
    ("or 0 for all cores", lambda p: BenchSettings(threads=-1)),
    ("--clock 'sun' is not one of", lambda p: BenchSettings(clock="sun")),
    ("give --threads 1 with it", lambda p: BenchSettings(clock="cpu")),
    ("computes on a GPU", lambda p: BenchSettings(backend="ort-cuda", threads=1)),
    ("are timed in ONNX Runtime", lambda p: BenchSettings(backend="ort-cuda", layers=True)),
    ("is no time to measure in", lambda p: BenchSettings(seconds=0)),
    ("--layers are written with --json", lambda p: p("bench", p.demo, "--layers")),
    ("is not numbers, as in 1,8,32", lambda p: p("bench", p.demo, "--batch-size", "many")),
    ("three that do not fall", lambda p: BuildOptions(batches=(4, 2, 1))),
    ("at least 1 MiB", lambda p: BuildOptions(workspace_mib=0)),
    (
        "is not one number of images or three",
        lambda p: p("build", p.demo, "--target", "rtx-a6000", "--batch-size", "1,2"),
    ),
    ("give ./generated for that", lambda p: parse_generated(p.named("generated"))),
    ("is not generated[:refined][:FAMILY", lambda p: parse_generated("generated:noise:5:noise")),
    ("generate at least 1 image", lambda p: parse_generated("generated:0")),
    ("neither a number of images nor a family", lambda p: parse_generated("generated:leafs")),
    ("axes of space, for which there are", lambda p: check_families(("chirps",), 2)),
    (
        "images are generated for inputs of 3 to 5 axes",
        lambda p: p("prune", p.dense, "--sparsity", 0.5, "--calibration", "generated"),
    ),
    (
        "but --preprocess has 3 values of mean",
        lambda p: p.prune("--sparsity", 0.5, "--calibration", "generated", *CIFAR),
    ),
    (
        "and the file has none; give --calibration generated",
        lambda p: refined(p, HEAD, "n = Conv (x, w)"),
    ),
    (
        "and the model's input holds whole numbers",
        lambda p: refined(p, HEAD.replace("float", "uint8", 1), BY_BYTES, **NORM),
    ),
    (
        "--decode is of raw outputs of a detector",
        lambda p: p.evaluate(p.digits, "--decode", "yolox"),
    ),
    (
        "detectors are compared on a folder or .tar of images",
        lambda p: p.evaluate(p.digits, "--against", p.demo, "--task", "detection"),
    ),
    ("give --task detection", lambda p: p.evaluate(p.digits, "--annotations", p.digits)),
    ("must be N or H,W in whole pixels", lambda p: p.evaluate(p.digits, "--preprocess", "size=x")),
    (
        "give one value, or one per channel",
        lambda p: p.evaluate(p.digits, "--preprocess", "mean=1,2;std=1,2,3"),
    ),
    ("give none, cifar10", lambda p: p.evaluate(p.digits, "--preprocess", "fancy")),
    ("leave one of them out", lambda p: p.evaluate(p.digits, "--preprocess", "yolox;crop=8")),
    ("leaves open; add one of them", lambda p: p.evaluate(p.digits, "--preprocess", "fill=0")),
    ("--annotations and --labels are of", lambda p: p.evaluate(p.digits, "--labels", "order")),
    ("unknown key 'hue'", lambda p: p.evaluate(p.digits, "--preprocess", "hue=1")),
    ("matches no layer", lambda p: p.prune("--sparsity", 0.5, "--include", "nothing*")),
    (
        "give a number from ",
        lambda p: p.prune("--sparsity", 0.5, "--layer", "*conv1*=999"),
    ),
    ("cannot be reached: at most", lambda p: p.prune("--macs-reduction", 0.999)),
    ("no channel that could go", lambda p: p.prune("--sparsity", 0.5, "--exclude", "*")),
]
