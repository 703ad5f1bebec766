"""The parts of choosing channels, each with and without: turned streams, and a search.

    python tools/choices_ablation.py -o choices/ --search 300

Prints a Markdown row for each network and target, of `prune --method reconstruction` with its own
unlabelled images, and what `evaluate --against` the original says of it. Commands that ran are not
run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from no_images import NETWORKS
from timed import call

ROWS: dict[str, tuple[tuple[float, ...], tuple[str, ...]]] = {
    "resnet20": ((0.5,), ("plain", "search")),
    "resnet56": ((0.7,), ("plain", "search")),
    "squeezenet": ((0.3,), ("plain", "search")),
    "shufflenetv2": ((0.3,), ("plain", "search")),
    "mobilenetv2": ((0.15, 0.3), ("streams, channels", "streams, axes", "search")),
}
"""The reductions of a network, and what is compared."""


@dataclass(frozen=True)
class Bench:
    """Where commands write what came of them, and the seconds of a search."""

    folder: Path
    seconds: float

    def row(self, name: str, reduction: float, way: str) -> dict[str, Any]:
        """The outcome of a way: {"top1", "agreement", "kl", "search", "turned", "seconds"}."""
        stored = self.folder / f"{name}-{reduction}-{way.replace(', ', '-')}.json"
        if not stored.exists():
            network = NETWORKS[name]
            train, test = network.arrays(self.folder)
            out, model = self.folder / "pruned.onnx", network.file(None)
            streams = name == "mobilenetv2"
            residual = "prune" if streams else network.residual
            options: dict[str, tuple[object, ...]] = {
                "streams, channels": ("--basis", "file"),
                "search": ("--search", self.seconds),
            }
            images = ("--calibration", train, "--calibration-size", network.images)
            how = ("--method", "reconstruction", "--residual", residual, *options.get(way, ()))
            like = ("--preprocess", network.preprocess)
            target = ("--macs-reduction", reduction)
            _, seconds = call("prune", model, "-o", out, "-f", "-q", *target, *how, *images, *like)
            report = json.loads((self.folder / "pruned.report.json").read_text(encoding="utf-8"))
            printed, _ = call(
                *("evaluate", out, "--data", test, *like, "--against", model, "--json", "-", "-q")
            )
            scores = json.loads(printed)
            values = {
                "top1": scores["top1"],
                "agreement": scores["agreement"],
                "kl": scores["mean_kl"],
                "search": report["search"],
                "turned": [stream["axes"] for stream in report["turned"]],
                "seconds": seconds,
            }
            stored.write_text(json.dumps(values), encoding="utf-8")
        return dict(json.loads(stored.read_text(encoding="utf-8")))


def table(bench: Bench, names: Sequence[str]) -> Iterator[str]:
    """The rows of some networks."""
    yield "| network | multiply-adds | way | top-1 | agreement | KL | attempts, error | CPU time |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in names:
        reductions, ways = ROWS[name]
        for reduction in reductions:
            for way in ways:
                row = bench.row(name, reduction, way)
                cells = [
                    *(name, f"−{reduction:.0%}", way),
                    "" if NETWORKS[name].agreement else f"{row['top1']:.2f}",
                    *(f"{row['agreement']:.2f}", f"{row['kl']:.3f}", _searched(row["search"])),
                    f"{row['seconds']:.0f} s",
                ]
                yield f"| {' | '.join(cells)} |"


def _searched(search: dict[str, Any] | None) -> str:
    if search is None:
        return ""
    return f"{search['attempts']}, {search['error_first']:.4f} → {search['error']:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--search", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for line in table(Bench(arguments.out, arguments.search), arguments.rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
