"""One pruning by one tool, in a process of its own; started by `peers.py`.

    python tools/peer_worker.py TOOL NETWORK SOURCE OUT

TOOL is `onnxsim`, `Torch-Pruning`, or `reprune-onnx` with options of `prune`. Every tool drops half
of the channels of each layer that it can prune.
Prints a line of JSON: the seconds of the pruning, the CPU seconds of all its threads, and the peak
memory beyond what the process had before.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

SPARSITY = 0.5


def main() -> None:
    tool, network, source, out = sys.argv[1:]
    if tool == "export":
        export(module(network), Path(out))
        print("{}")
        return
    if tool == "onnxsim":
        facts = onnxsim(Path(source), Path(out))
    elif tool == "Torch-Pruning":
        facts = torch_pruning(network, Path(out))
    else:
        facts = this_project(tool.split()[1:], Path(source), Path(out))
    print(json.dumps(facts))


def this_project(options: list[str], source: Path, out: Path) -> dict[str, float]:
    """From file to file, the proof of the cut included."""
    for name in ("numba", "onnx_graphsurgeon", "onnxruntime", "scipy.cluster.hierarchy"):
        importlib.import_module(name)  # imports are not what is measured
    import reprune_onnx as rp

    chosen = dict(zip((o.lstrip("-") for o in options[::2]), options[1::2], strict=True))
    settings = rp.Settings(sparsity=SPARSITY, allocation="uniform", **chosen)
    with Measured() as measured:
        model = rp.load(source)
        pruned = rp.prune(model, settings)
        rp.save(pruned.model, out)
    stages = pruned.report["seconds"]
    assert isinstance(stages, dict)
    return measured.facts | {"select_s": stages["select"], "verify_s": stages["verify"]}


def onnxsim(source: Path, out: Path) -> dict[str, float]:
    """From file to file."""
    import onnx
    from onnxsim import pruning

    with Measured() as measured:
        model = onnx.load(source)
        onnx.save(pruning.apply_structured_pruning(model, sparsity=SPARSITY), out)
    return measured.facts


def torch_pruning(network: str, out: Path) -> dict[str, float]:
    """The module in memory; neither reading it nor the export to ONNX is counted."""
    import torch
    import torch_pruning as tp

    net = module(network)
    x = torch.zeros(1, 3, 224, 224)
    last = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    with Measured() as measured:
        pruner = tp.pruner.MagnitudePruner(
            net,
            x,
            importance=tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=SPARSITY,
            ignored_layers=[last],
        )
        pruner.step()
    export(net, out)
    return measured.facts


class Measured:
    """Seconds, CPU seconds of all threads, and peak memory of a ``with`` block."""

    def __enter__(self) -> Measured:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        self._memory = memory("VmRSS")
        self._start, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.facts = {
            "seconds": time.perf_counter() - self._start,
            "cpu_s": time.process_time() - self._cpu,
            "peak_mb": memory("VmHWM") - self._memory,
        }


def memory(field: str) -> float:
    """MB, from the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) / 1024 for x in lines if x.startswith(field))


def module(network: str) -> object:
    import torch
    import torchvision

    torch.manual_seed(0)
    net = getattr(torchvision.models, network)(weights=None).eval()
    for layer in net.modules():  # as if trained: no two layers have equal statistics
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, std=0.1)
            torch.nn.init.normal_(layer.running_mean, std=0.1)
    return net


def export(net: object, out: Path) -> None:
    import torch

    out.parent.mkdir(parents=True, exist_ok=True)
    batch = {"input": {0: "N"}, "output": {0: "N"}}
    torch.onnx.export(
        net,
        (torch.zeros(1, 3, 224, 224),),
        str(out),
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes=batch,
    )


if __name__ == "__main__":
    main()
