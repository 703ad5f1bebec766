"""The measured speedup of pruned models: widths as they come, and rounded for the device.

    python tools/model_speed.py --networks networks

Needs torch and torchvision, which make the networks (random weights), as `peers.py` does. The
original and the pruned models run in turns in ONNX Runtime, on one thread; CPU time is counted,
so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from peer_table import faster, speedup
from peers import BATCHES, machine, original, timings

import reprune_onnx as rp

NETWORKS = ["resnet50", "resnet18", "mobilenet_v2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=Path, required=True, help="folder for the ONNX files")
    parser.add_argument("--only", nargs="+", default=NETWORKS)
    parser.add_argument("--macs-reduction", type=float, default=0.56)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--turns", type=int, default=21)
    arguments = parser.parse_args()
    arguments.networks.mkdir(parents=True, exist_ok=True)
    print("; ".join(f"{k} {v}" for k, v in machine().items() if v != "absent"), end="\n\n")
    heads = ["network", "widths", "MACs ÷", *(f"batch {b}: faster | ÷ MACs" for b in BATCHES)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * 7}")
    for network in arguments.only:
        source = original(network, arguments.networks)
        if source is None:
            sys.exit(f"{network} is not here")
        with tempfile.TemporaryDirectory() as folder:
            measure(network, source, Path(folder), arguments)


def measure(network: str, source: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Two rows: as allocated, and rounded."""
    models, ratios = {"original": source}, {}
    for target in (None, arguments.target):
        settings = rp.Settings(
            macs_reduction=arguments.macs_reduction, allocation="uniform", target=target
        )
        pruned = rp.prune(rp.load(source), settings)
        name = "as allocated" if target is None else f"`--target {target}`"
        models[name] = folder / f"{len(models)}.onnx"
        rp.save(pruned.model, models[name])
        before, after = (pruned.report[when]["macs"] for when in ("before", "after"))
        ratios[name] = before / after
    times = {batch: timings(models, batch, arguments.turns) for batch in BATCHES}
    for name, ratio in ratios.items():
        cells = [network, name, f"{ratio:.2f}"]
        for batch in BATCHES:
            ms = {"before": times[batch]["original"], "after": times[batch][name]}
            cells += [faster(ms), f"{speedup(ms) / ratio:.0%}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
