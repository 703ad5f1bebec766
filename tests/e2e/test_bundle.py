"""Bundles: what is in one, and its scripts run under Python 3.6 with a stand-in for trtexec."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from reprune_onnx.deployment.bundle import BundleOptions, bundle
from reprune_onnx.latency.table import read_table
from reprune_onnx.targets import read_target

DEVICE = Path(__file__).parent / "device" / "stand_in.py"
HOT = (  # from https://github.com/gustavz/realtime_object_detection/issues/24, with another load
    "RAM {ram}/7854MB (lfb 1044x4MB) SWAP 278/8192MB (cached 23MB) CPU [4%@{mhz},0%@345,0%@345,"
    "2%@345,2%@346,3%@345] EMC_FREQ 16%@102 GR3D_FREQ 99%@{gpu} APE 150 MTS fg 0% bg 0% BCPU@41C"
    " MCPU@41C GPU@39C PLL@41C Tboard@37C Tdiode@37.25C PMIC@100C thermal@39.9C VDD_IN 8000/1853"
    " VDD_CPU 231/231 VDD_GPU 154/154 VDD_SOC 386/385 VDD_WIFI 38/38 VDD_DDR 250/288"
)


def python36() -> str:
    """A real Python 3.6 where there is one; else the one that runs the tests."""
    homes = [os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")]
    files = [p for h in homes for p in sorted(Path(h or ".").glob("versions/3.6.*/bin/python3.6"))]
    return str(files[0]) if files else shutil.which("python3.6") or sys.executable


@pytest.fixture(scope="module")
def packed(tmp_path_factory, demo) -> Path:
    """A bundle of the demo model and of what pruning made of it."""
    from reprune_onnx import Settings, load, prune, save

    folder = tmp_path_factory.mktemp("packed")
    pruned = prune(load(demo), Settings(sparsity=0.5, allocation="uniform", recover="none"))
    save(pruned.model, folder / "small.onnx")
    shutil.copy(demo, folder / "digits.onnx")
    options = BundleOptions(batches=(1, 6))
    models = [folder / "digits.onnx", folder / "small.onnx"]
    bundle(models, read_target("jetson-tx2"), folder / "bundle", options)
    return folder / "bundle"


@pytest.fixture
def device(packed, tmp_path):
    """A copy of the bundle on a "device": call it with a plan per case and more environment."""
    folder, tools = tmp_path / "bundle", tmp_path / "bin"
    shutil.copytree(packed, folder)
    tools.mkdir()
    python = python36()

    def tool(name: str, text: str) -> None:
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)

    tool("trtexec", f'exec "{python}" "{DEVICE}" "$@"')
    tool("nvpmodel", "echo 'Error opening /var/lib/nvpmodel/status: 13' >&2; exit 1")
    tool("sudo", "exit 1")
    stats = [HOT.format(ram=1685 + 100 * k, mhz=2035, gpu=1300) for k in range(3)]
    tool("tegrastats", "cat <<'END'\n" + "\n".join(stats) + "\nEND\nexec sleep 60")
    for name in ("taskset",):
        tool(name, 'shift; shift; echo "$@" >/dev/null; exec "$@"')

    class Device:
        def __init__(self) -> None:
            self.folder, self.tools, self.plan = folder, tools, tmp_path / "plan.json"

        def environment(self, plan: dict, **more: str) -> dict[str, str]:
            self.plan.write_text(json.dumps(plan))
            path = f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin"
            environment = {
                "PATH": path,
                "STAND_IN": str(self.plan),
                "PYTHON": python,
                "HOME": str(tools),
            }
            return {**environment, **more}

        def run(self, plan: dict | None = None, **more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["sh", "run.sh"],
                cwd=folder,
                env=self.environment(plan or {}, **more),
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )

        def results(self) -> dict:
            return json.loads((folder / "results.json").read_text())

        def calls(self) -> list[str]:
            return Path(f"{self.plan}.calls").read_text().splitlines()

    there = Device()
    there.tool = tool
    return there


def test_what_is_in_a_bundle(packed, demo):
    manifest = json.loads((packed / "bundle.json").read_text())
    first, second = manifest["models"]
    assert (first["name"], second["name"]) == ("digits", "small")
    assert second["pruned_from"] == first["source"]["sha256"]
    for m in manifest["models"]:
        proto = onnx.load(packed / m["files"]["fp16"])
        assert proto.opset_import[0].version <= 13
        assert proto.ir_version <= 7
        assert m["difference"] <= 1e-4
        assert m["dynamic"]
        port = m["inputs"][0]
        size = np.fromfile(packed / port["reference"], "<f4").size
        assert size == m["images"] * np.prod(port["shape"][1:])
    readme = (packed / "README.md").read_text()
    assert "{" not in readme
    assert "8.2" in readme
    assert "0,3-5" in readme
    everything = "".join(p.read_text() for p in packed.rglob("*.json"))
    assert str(demo.parent) not in everything


def test_everything_is_built_checked_and_measured(device):
    result = device.run(SECONDS_PER_CASE="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    results = device.results()
    assert (len(results["rows"]), results["failed"], results["missing"]) == (8, [], 0)
    row = next(r for r in results["rows"] if (r["name"], r["batch_size"]) == ("small", 6))
    assert row["images_per_s"] == pytest.approx(6 * 1000 / 3, rel=1e-4)
    assert row["latency_ms"]["median"] == pytest.approx(3.0, rel=0.01)
    assert row["latency_ms"]["p90"] >= row["latency_ms"]["median"]
    assert len(row["runs"]) == 60
    assert not row["throttled"]
    assert not row["noisy"]
    assert row["peak_memory_mb"] == 1885
    assert row["energy_per_image_j"] == pytest.approx(8.0 / row["images_per_s"])
    assert row["check"]["difference"] < 1e-5
    assert row["engine_bytes"] > 0
    machine = results["machine"]
    assert (machine["gpu"], machine["sm"], machine["tensorrt"]) == (
        "NVIDIA Tegra X2",
        "6.2",
        "8.2.1",
    )
    assert machine["name"].startswith("NVIDIA Jetson TX2 (")
    assert machine["pinned_cores"] == "0,3-5"
    assert machine["python"].startswith("3.6.") == ("3.6" in python36())
    assert "no permission" in machine["power_mode"]
    assert machine["clocks"] == "not installed"
    builds = [c for c in device.calls() if "--onnx=" in c]
    assert len(builds) == 8
    assert all("--workspace=1024" in c and "--memPoolSize" not in c for c in builds)
    assert sum("--fp16" in c for c in builds) == 4
    called = len(device.calls())
    again = device.run()
    assert again.stdout.splitlines() == ["results.json: 8 measured, 0 failed, 0 not done"]
    assert len(device.calls()) == called, "nothing is done twice"


def test_times_of_layers_are_what_prune_reads(device, call, model, tmp_path):
    assert device.run(SECONDS_PER_CASE="1").returncode == 0
    results = device.results()
    widths = {(r["layer"], r["rows"]) for r in results["layers"]}
    assert len({layer for layer, _ in widths}) < len(widths), "two widths of what was pruned"
    assert results["rest_ms"] == 0.25
    assert len(read_table(device.folder / "results.json").layers) == len(results["layers"])
    how = ("--latency-reduction", "0.1", "--latency-table", device.folder / "results.json")
    result = call("prune", model, "-o", tmp_path / "o.onnx", *how, "--allocation", "uniform")
    assert result.code == 0, result.err


def test_what_fails_is_told_and_the_rest_goes_on(device):
    plan = {
        "digits-fp16-b1": "unparsable",
        "digits-fp32-b1": "killed",
        "small-fp16-b1": "no memory",
        "small-fp32-b1": "wrong",
        "digits-fp16-b6": "truncated",
        "digits-fp32-b6": "slows down",
    }
    result = device.run(plan, SECONDS_PER_CASE="1")
    assert result.returncode == 0, result.stdout + result.stderr
    results = device.results()
    reasons = {f"{f['model']}-{f['precision']}-b{f['batch_size']}": f for f in results["failed"]}
    assert {k: v["failed"] for k, v in reasons.items()} == {
        "digits-fp16-b1": "build",
        "digits-fp32-b1": "build",
        "small-fp16-b1": "build",
        "small-fp32-b1": "outputs",
        "digits-fp16-b6": "time",
    }
    says = {k: v["reason"] for k, v in reasons.items()}
    assert says["digits-fp16-b1"].startswith("node 'Identity_0': onnx::QuantizeLinear_429: invalid")
    assert "without a verdict" in says["digits-fp32-b1"]
    assert "out of memory" in says["small-fp16-b1"]
    assert "differ from the references by 0.5" in says["small-fp32-b1"]
    assert "without a verdict" in says["digits-fp16-b6"]
    (slow,) = [r for r in results["rows"] if r["throttled"]]
    assert (slow["name"], slow["precision"], slow["batch_size"]) == ("digits", "fp32", 6)
    assert "longer at the end" in slow["throttled_because"][0]
    assert not list(device.folder.rglob("*.part"))
    assert device.run({}).stdout.count("[") == 0, "what failed is not tried again by itself"
    assert device.run({}, RETRY="1", SECONDS_PER_CASE="1").returncode == 0
    assert (len(device.results()["rows"]), device.results()["failed"]) == (8, [])


def test_falling_clocks_and_another_device_than_was_meant(device):
    manifest = json.loads((device.folder / "bundle.json").read_text())
    (device.folder / "bundle.json").write_text(json.dumps(manifest | {"sm": "7.2"}))
    lines = [HOT.format(ram=1700, mhz=2035, gpu=gpu) for gpu in (1300, 1300, 850)]
    device.tool("tegrastats", "cat <<'END'\n" + "\n".join(lines) + "\nEND\nexec sleep 60")
    assert device.run(SECONDS_PER_CASE="1").returncode == 0
    reasons = {tuple(r["throttled_because"]) for r in device.results()["rows"]}
    assert reasons == {("GPU clock fell from 1300 to 850 MHz",)}
    assert "TX2" not in device.results()["machine"]["name"], "it says what ran, not what was meant"


def test_it_goes_on_where_it_was_stopped(device):
    process = subprocess.Popen(
        ["sh", "run.sh"],
        cwd=device.folder,
        env=device.environment({"digits-fp32-b1": "hangs"}, SECONDS_PER_CASE="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    partial = device.folder / "work" / "digits-fp32-b1" / "engine.part"
    for _ in range(300):
        if partial.exists():
            break
        time.sleep(0.1)
    assert partial.exists()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run it again to go on" in out
    assert not partial.exists()
    assert [r["model"] for r in device.results()["rows"]] == ["digits fp16"]
    before = len([c for c in device.calls() if "--onnx=" in c])
    assert device.run(SECONDS_PER_CASE="1").returncode == 0
    assert device.results()["missing"] == 0
    assert len([c for c in device.calls() if "--onnx=" in c]) == before + 7


def test_missing_tools(device):
    for name in ("tegrastats", "taskset"):
        (device.tools / name).unlink()
    bare = device.folder.parent / "bare"
    bare.mkdir()
    for name in ("sh", "cat", "date", "dirname", "grep", "mkdir", "mv", "rm", "sleep", "tr", "wc"):
        (bare / name).symlink_to(shutil.which(name))
    path = f"{device.tools}{os.pathsep}{bare}"
    result = device.run(PATH=path, SECONDS_PER_CASE="1")
    assert result.returncode == 0, result.stderr
    assert "no tegrastats" in result.stdout
    assert "no cores are pinned" in result.stdout
    rows = device.results()["rows"]
    assert len(rows) == 8
    assert all(r["power_w"] is None and r["energy_per_image_j"] is None for r in rows)
    (device.tools / "trtexec").unlink()
    without = device.run(PATH=path)
    assert without.returncode == 1
    assert without.stderr.startswith("run.sh: trtexec is not here; install TensorRT")
    assert device.run(PATH=path, PYTHON="none-such").stderr.startswith(
        "run.sh: python3 is not here"
    )


def test_what_cannot_be_bundled(refuses, model, tmp_path, demo):
    to = ("-o", tmp_path / "out")
    refuses("bundle", model, *to, "--target", "cpu", code=2, says=("use `reprune-onnx convert`",))
    refuses("bundle", model, *to, "--target", "cuda", code=2, says=("use `reprune-onnx build`",))
    tx2 = (*to, "--target", "jetson-tx2")
    refuses("bundle", model, *tx2, "--precision", "int8", code=2, says=("has no int8",))
    refuses("bundle", model, *tx2, "--batch-size", "0", code=2, says=("at least 1 image",))
    refuses("bundle", model, *tx2, "--batch-size", "x", code=2, says=("not a number",))
    fixed = onnx.load(demo)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, tmp_path / "fixed.onnx")
    eight = ("bundle", tmp_path / "fixed.onnx", *tx2, "--batch-size", "8")
    refuses(*eight, says=("fixed batch of 1", "--batch-size 8", "symbolic batch"))
    engine = tmp_path / "x.engine"
    engine.write_bytes(b"ptrt")
    refuses("bundle", engine, *tx2, says=("is a TensorRT engine",))
    (tmp_path / "out").mkdir()
    refuses("bundle", model, *tx2, says=("exists",))


@pytest.mark.parametrize("name", ["resnet56_cifar10_dynamo", "rfb320"])
def test_real_models_come_within_the_limits_of_a_tx2(call, shared, tmp_path, name):
    result = call(
        "bundle", shared / "models" / f"{name}.onnx", "--target", "jetson-tx2", "-o", tmp_path / "b"
    )
    assert result.code == 0, result.err
    (entry,) = json.loads((tmp_path / "b" / "bundle.json").read_text())["models"]
    assert entry["difference"] <= 1e-4
    proto = onnx.load(tmp_path / "b" / entry["files"]["fp16"])
    assert proto.opset_import[0].version <= 13
    assert proto.ir_version <= 7
    assert entry["batches"] == ([1] if name == "rfb320" else [1, 2, 4, 8, 16, 32])
