"""This project beside onnxsim and Torch-Pruning: the same networks, the same machine, one run.

    python tools/peers.py --networks networks --json docs/peers.json
    python tools/peer_table.py docs/peers.json --plot docs/peers.svg

Needs torch, torchvision, onnxscript, onnxsim and torch-pruning beside this project. Every pruning
is a process of its own (`peer_worker.py`). Shares of what is left are counted by this project's
analysis on the ONNX files that come out. The original and what each tool made of it run in turns,
on one thread, and CPU time is counted, so that what else the machine does disturbs little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.data.open import open_data
from reprune_onnx.pruner.measure import cost
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.runtime.ort import Session

NETWORKS = ["resnet56", "resnet18", "mobilenet_v2", "resnet50"]  # others of torchvision's too
TOOLS = [
    "reprune-onnx",  # without images of the user's: with generated ones
    "reprune-onnx --recover data-free",  # with none at all, and so are the next two
    "reprune-onnx --recover data-free --residual prune",
    "reprune-onnx --recover data-free --residual prune --method l2",  # as Torch-Pruning does it
    "onnxsim",
    "Torch-Pruning",
]
SHARED = ROOT.parent / "shared"  # real weights and images, where they are at hand
IMAGES = SHARED / "data" / "cifar10_lossless.npz"
BATCHES = (1, 8)
REPEATS = 3  # prunings
TURNS = 11  # timed runs of each model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=Path, required=True, help="folder for the ONNX files")
    parser.add_argument("--only", nargs="+", default=NETWORKS)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.networks.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": machine(), "rows": []}
    for network in arguments.only:
        source = original(network, arguments.networks)
        if source is None:
            print(f"{network}: not here, left out")
            continue
        with tempfile.TemporaryDirectory() as folder:
            result["rows"] += compare(network, source, Path(folder))
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def machine() -> dict[str, str]:
    """The machine and the versions on which the numbers depend."""
    names = ["reprune-onnx", "onnxsim", "torch-pruning", "torch", "torchvision", "onnxruntime"]
    names += ["onnx", "numpy", "numba"]
    described = {"python": platform.python_version(), "cores": str(os.cpu_count())}
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        pairs = (line.partition(":") for line in cpu.read_text().splitlines())
        facts = {key.strip(): value.strip() for key, _, value in pairs}
        described["cpu"] = facts.get("model name", platform.processor())
        vectors = [v for v in ("avx2", "avx512f", "avx512_vnni") if v in facts.get("flags", "")]
        described["vectors"] = " ".join(vectors)
    for name in names:
        try:
            described[name] = version(name)
        except PackageNotFoundError:
            described[name] = "absent"
    return described


def original(network: str, folder: Path) -> Path | None:
    """The ONNX file of a network, exported if it is not there yet."""
    if network == "resnet56":
        path = SHARED / "models" / "resnet56_cifar10_folded.onnx"
        return path if path.exists() else None
    path = folder / f"{network}.onnx"
    if not path.exists():
        failed = worker("export", network, path, path).get("error")
        if failed:
            sys.exit(f"{network} cannot be exported: {failed}")
    return path


def tools_for(network: str) -> list[str]:
    """With real weights there are images too; Torch-Pruning reads no ONNX file."""
    if network != "resnet56":
        return TOOLS
    images = f"reprune-onnx --calibration {IMAGES}:x_train --preprocess cifar10"
    return [images, *(tool for tool in TOOLS if tool != "Torch-Pruning")]


def compare(network: str, source: Path, folder: Path) -> list[dict[str, Any]]:
    """One row per tool."""
    rows = []
    models = {"original": source}
    for k, tool in enumerate(tools_for(network)):
        out = folder / f"{k}.onnx"
        runs = []
        for _ in range(REPEATS):
            out.unlink(missing_ok=True)
            runs.append(worker(tool, network, source, out))
        label = tool.replace(f"{IMAGES.parent}/", "")
        row: dict[str, Any] = {"network": network, "tool": label, "runs": runs}
        if out.exists():
            try:
                row |= shares(source, out)
                models[label] = out
            except rp.RepruneError as error:
                row["error"] = f"its output is not a valid model: {error}"
        rows.append(row)
        print(network, tool, runs[-1], flush=True)
    times = {batch: timings(models, batch) for batch in BATCHES}
    accuracy = {name: top1(path) for name, path in models.items()} if network == "resnet56" else {}
    for row in rows:
        if row["tool"] in models:
            row["ms"] = {
                batch: {"before": times[batch]["original"], "after": times[batch][row["tool"]]}
                for batch in BATCHES
            }
            if accuracy:
                row["top1"] = [accuracy["original"], accuracy[row["tool"]]]
    return rows


def worker(tool: str, network: str, source: Path, out: Path) -> dict[str, Any]:
    """Run one tool in a process of its own: seconds, and its peak memory beyond the imports."""
    script = Path(__file__).with_name("peer_worker.py")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), tool, network, str(source), str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:200]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer | {"process_s": time.perf_counter() - start}


def shares(source: Path, out: Path) -> dict[str, float]:
    """The number of Conv layers that lost output channels; the ratios of MACs and parameters."""
    graphs = [graph_of(rp.load(path)) for path in (source, out)]
    old, new = (cost(graph, channels_of(graph, rp.Scope())) for graph in graphs)
    sizes = [conv_widths(path) for path in (source, out)]
    cut = (
        sum(a < b for b, a in zip(*sizes, strict=True)) if len(sizes[0]) == len(sizes[1]) else None
    )
    return {
        "convs": len(sizes[0]),
        "convs_cut": cut,
        "macs_ratio": old.macs / new.macs,
        "params_ratio": old.params / new.params,
    }


def conv_widths(path: Path) -> list[int]:
    """The output channels of every Conv, in order."""
    graph = onnx.load(path, load_external_data=False).graph
    shape = {t.name: t.dims for t in graph.initializer}
    return [shape[n.input[1]][0] for n in graph.node if n.op_type == "Conv"]


def timings(models: dict[str, Path], batch: int, turns: int = TURNS) -> dict[str, list[float]]:
    """Milliseconds of CPU time of each run of every model, taken in turns."""
    sessions = {name: Session(path, optimize=True, threads=1) for name, path in models.items()}
    feeds = {}
    for name, session in sessions.items():
        port = session.inputs[0]
        sides = [n or 224 for n in port.shape[2:]]
        x = np.random.default_rng(0).standard_normal((batch, 3, *sides)).astype(np.float32)
        feeds[name] = {port.name: x}
        session.run(feeds[name])
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(turns):
        for name, session in sessions.items():
            start = time.process_time()
            session.run(feeds[name])
            times[name].append((time.process_time() - start) * 1e3)
    return times


def top1(path: Path) -> float:
    """Accuracy on the lossless CIFAR-10 test images."""
    model = rp.load(path)
    port = image_input(model.proto, {})
    data = open_data(
        f"{IMAGES}:x_test,y_test", preprocess="cifar10", input_shape=port.shape, dtype=port.dtype
    )
    return rp.evaluate(model, data).top1


if __name__ == "__main__":
    main()
