"""`bench`: what it measures, what it checks first, and what it says when it cannot."""

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
from importlib.util import find_spec
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import parser

import reprune_onnx as rp
from reprune_onnx.benchmark import check, run
from reprune_onnx.benchmark.run import Watching

QUICK = ("--seconds", "0.05")


def test_a_table_a_plot_and_a_result(call, pair, tmp_path):
    files = ("--json", tmp_path / "bench.json", "--plot", tmp_path / "bench.svg")
    result = call("bench", *pair, "--batch-size", "1,4", *QUICK, *files)
    assert (result.code, result.err) == (0, "")
    stored = json.loads((tmp_path / "bench.json").read_text())
    assert stored["backend"] == "ort"
    assert {"name", "cpu", "cpus", "memory_bytes", "os", "versions"} <= set(stored["machine"])
    wanted = [(str(m), b) for b in (1, 4) for m in pair]
    assert [(row["model"], row["batch_size"]) for row in stored["rows"]] == wanted
    for row in stored["rows"]:
        ms = row["latency_ms"]
        assert len(row["runs"]) >= 10
        assert ms["median"] == pytest.approx(np.median(row["runs"]), rel=1e-3)
        assert ms["p90"] == pytest.approx(np.percentile(row["runs"], 90), rel=1e-3)
        assert row["images_per_s"] == pytest.approx(
            1e3 * row["batch_size"] / ms["median"], rel=1e-3
        )
        assert (row["speedup"] is None) == (row["model"] == str(pair[0]))
        assert f"{row['images_per_s']:,.5g}" in result.out
    entries = {entry["model"]: entry for entry in stored["models"]}
    assert entries[str(pair[1])]["pruned_from"] == str(pair[0])
    assert entries[str(pair[1])]["verified"] == "cut"
    for entry in entries.values():
        assert entry["max_abs_diff"] <= 1e-4 * entry["scale"]
    assert ElementTree.parse(tmp_path / "bench.svg").getroot().tag.endswith("svg")


def test_the_function_of_the_package_tells_the_result_after_every_batch_size(demo):
    seen = []
    watching = Watching(so_far=lambda result: seen.append(len(result["rows"])))
    settings = rp.BenchSettings(batch_sizes=(1, 2, 3), threads=1, seconds=0.01)
    result = rp.bench([demo], settings, watching)
    assert seen == [1, 2, 3]
    assert result["threads"] == 1
    assert result["models"][0]["inputs"] == {"input": [1, 1, 8, 8]}


def test_the_clock_that_was_asked_for_is_read(demo, monkeypatch):
    """CPU time as told by a stand-in that moves a millisecond whenever it is read."""
    read = itertools.count()
    monkeypatch.setattr(run.time, "process_time", lambda: next(read) / 1000)
    settings = rp.BenchSettings(batch_sizes=(2,), threads=1, seconds=0.05, clock="cpu")
    result = rp.bench([demo], settings)
    assert result["clock"] == "cpu"
    assert result["rows"][0]["latency_ms"] == {"median": 1, "p90": 1, "iqr": 0, "min": 1}
    assert result["rows"][0]["images_per_s"] == 2000


def test_layer_times_are_a_latency_table(call, model, tmp_path):
    table = tmp_path / "bench.json"
    assert call("bench", model, "--batch-size", "1", *QUICK, "--layers", "--json", table).code == 0
    latency = json.loads(table.read_text())["latency"]
    assert {row["layer"] for row in latency["layers"]} >= {"/stage1/block1/conv1/Conv"}
    for row in latency["layers"]:  # what can be reached must not depend on what else runs here
        row["ms"] = row["rows"] * row["columns"]
    table.write_text(json.dumps({"latency": latency | {"rest_ms": 0.0}}))
    how = ("--latency-reduction", "0.2", "--latency-table", table, "--recover", "none")
    assert call("prune", model, "-o", tmp_path / "small.onnx", *how).code == 0
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert report["achieved"]["latency_reduction"] == pytest.approx(0.2, abs=0.05)


def test_nothing_is_measured_where_a_pruned_file_is_not_what_its_report_says(
    call, refuses, pair, tmp_path
):
    other = tmp_path / "other.onnx"
    assert call("prune", pair[0], "-o", other, "--sparsity", "0.3").code == 0
    shutil.copy(other, pair[1])
    refuses("bench", *pair, says=(str(pair[1]), "is not what", "report.json"))


def test_nothing_is_measured_where_what_is_fast_is_wrong(demo, monkeypatch):
    monkeypatch.setattr(check.Session, "run", lambda self, feeds: {"logits": np.ones((1, 10))})
    with pytest.raises(rp.RepruneError, match="what is fast is wrong"):
        rp.bench([demo], rp.BenchSettings(batch_sizes=(1,), seconds=0.01))


def test_values_that_are_not_finite_are_refused(refuses, tmp_path):
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        logs (float[N, 3] x) => (float[N, 3] y) { y = Log(x) }
    """
    path = tmp_path / "logs.onnx"
    onnx.save(parser.parse_model(text), path)
    refuses("bench", path, *QUICK, says=("NaN or infinite values in 'y'",))


def test_a_static_batch_is_measured_as_it_is(call, refuses, demo, tmp_path):
    proto = onnx.load(demo)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 3
    path = tmp_path / "static.onnx"
    onnx.save(proto, path)
    result = call("bench", path, *QUICK, "--json", "-")
    assert [row["batch_size"] for row in json.loads(result.out)["rows"]] == [3]
    says = ("static batch of 3", "--batch-size 3", "free batch")
    refuses("bench", path, "--batch-size", "3,8", says=says)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--batch-size", "0"), 2, "--batch-size 0: a batch holds at least 1 image"),
        (("--batch-size", "one"), 2, "--batch-size 'one' is not numbers"),
        (("--seconds", "0"), 2, "--seconds 0"),
        (("--threads", "-1"), 2, "--threads -1"),
        (("--clock", "cpu"), 2, "--threads 1"),
        (("--clock", "cpu", "--threads", "1", "--backend", "ort-cuda"), 2, "one thread"),
        (("--backend", "ort-cuda", "--threads", "2"), 2, "computes on a GPU"),
        (("--backend", "abacus"), 2, "abacus"),
        (("--layers",), 2, "--json"),
        (("--plot", "plot.xyz"), 2, "ends in .png"),
        (("--plot", "none-such/plot.png"), 1, "no folder 'none-such'"),
        (("--input-shape", "inptu=1,1,8,8"), 2, "no model has an input 'inptu'; there are input"),
        (("--input-shape", "input=1,3,8,8"), 2, "contradicts"),
    ],
)
def test_bad_requests(refuses, model, options, code, says):
    refuses("bench", model, *options, code=code, says=(says,))


def test_bad_files(refuses, model, tmp_path):
    refuses("bench", tmp_path / "none.onnx", says=("No such file",))
    refuses("bench", model, model, code=2, says=("each once",))
    refuses("bench", model, "--json", model, says=("never written to",))
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"ftrt")
    refuses("bench", engine, says=("is a TensorRT engine", "--backend tensorrt"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:1000])
    refuses("bench", broken, says=("not an ONNX file, or it is truncated",))


@pytest.mark.parametrize(
    ("backend", "module", "says"),
    [
        ("tensorrt", "tensorrt", "pip install 'reprune-onnx[tensorrt]'"),
        ("openvino", "openvino", "pip install 'reprune-onnx[openvino]'"),
    ],
)
def test_a_backend_that_is_not_installed_is_named(refuses, model, backend, module, says):
    if find_spec(module):
        pytest.skip(f"{module} is installed")
    refuses("bench", model, "--backend", backend, code=2, says=(says,))


def test_cuda_needs_the_other_onnxruntime(refuses, model):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime with CUDA is installed")
    refuses("bench", model, "--backend", "ort-cuda", code=2, says=("onnxruntime-gpu",))


def test_openvino_computes_the_same(call, pair):
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    result = call("bench", *pair, "--backend", "openvino", "--batch-size", "1,4", *QUICK)
    assert (result.code, result.err) == (0, "")
    assert "pruned from" in result.out


@pytest.mark.parametrize(
    ("name", "how"),
    [("zoo_yolox_nano", ()), ("scrfd_500m_bnkps", ("--input-shape", "input.1=1,3,64,64"))],
)
def test_openvino_measures_real_detectors(call, shared, name, how):
    """Noise amplifies rounding in the one; OpenVINO gives outputs of the other several names."""
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    model = shared / "models" / f"{name}.onnx"
    result = call("bench", model, "--backend", "openvino", "--batch-size", "1", *QUICK, *how)
    assert (result.code, result.err) == (0, "")


def test_out_of_memory_keeps_what_was_measured(root, tmp_path):
    """In a process that may not take more than 3 GB, 4 MB for every image."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        widens (float[N, 1] x) => (float[N, 1] y)
        <int64[2] repeats = {1, 1000000}>
        { wide = Tile(x, repeats) y = ReduceMax<axes = [1]>(wide) }
    """
    model = tmp_path / "model.onnx"
    onnx.save(parser.parse_model(text), model)
    limit = 3 << 30
    how = ("--batch-size", "2,4000", *QUICK, "--threads", "1", "--json", "bench.json")
    code = "from reprune_onnx.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "bench", str(model), *how],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert "kept (1 rows)" in line
    stored = json.loads((tmp_path / "bench.json").read_text())
    assert [row["batch_size"] for row in stored["rows"]] == [2]
    assert [failure["batch_size"] for failure in stored["failures"]] == [4000]
