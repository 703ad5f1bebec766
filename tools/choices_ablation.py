"""The parts of choosing channels, each with and without: turned streams, a search, whole branches.

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

MACS, LATENCY = "--macs-reduction", "--latency-reduction"
SEARCH = ("plain", "search")
BRANCHES = ("every layer", "whole branches")
STREAMS = ("streams, channels", "streams, axes", "search")


@dataclass(frozen=True)
class Row:
    """What is compared on a network: ``ways`` to reach a ``share``."""

    network: str
    share: float
    ways: tuple[str, ...]
    target: str = MACS

    @property
    def residual(self) -> str:
        """The channels that may go."""
        return "prune" if self.ways == STREAMS else NETWORKS[self.network].residual


ROWS = (
    Row("resnet20", 0.5, SEARCH),
    Row("resnet56", 0.7, SEARCH),
    Row("squeezenet", 0.3, SEARCH),
    Row("shufflenetv2", 0.3, SEARCH),
    Row("mobilenetv2", 0.15, STREAMS),
    Row("mobilenetv2", 0.3, STREAMS),
    Row("resnet20", 0.9, BRANCHES),
    Row("resnet56", 0.7, BRANCHES),
    Row("resnet56", 0.9, BRANCHES),
    Row("resnet56", 0.95, BRANCHES),
    Row("resnet56", 0.2, BRANCHES, LATENCY),
    Row("resnet56", 0.3, BRANCHES, LATENCY),
    Row("resnet56", 0.45, BRANCHES, LATENCY),
)


@dataclass(frozen=True)
class Bench:
    """Where commands write what came of them, and the seconds of a search."""

    folder: Path
    seconds: float

    def outcome(self, row: Row, way: str) -> dict[str, Any]:
        """What came of a way: accuracy, what was reached, and the seconds; or why nothing did."""
        words = (row.network, row.target.strip("-"), row.share, way.replace(", ", "-"))
        stored = self.folder / f"{' '.join(map(str, words))}.json"
        if not stored.exists():
            stored.write_text(json.dumps(self._run(row, way)), encoding="utf-8")
        return dict(json.loads(stored.read_text(encoding="utf-8")))

    def _run(self, row: Row, way: str) -> dict[str, Any]:
        network = NETWORKS[row.network]
        train, test = network.arrays(self.folder)
        out, model = self.folder / "pruned.onnx", network.file
        options: dict[str, tuple[object, ...]] = {
            "streams, channels": ("--basis", "file"),
            "search": ("--search", self.seconds),
            "every layer": ("--min-channels", 1),
        }
        images = ("--calibration", train, "--calibration-size", network.images)
        how = ("--method", "reconstruction", "--residual", row.residual, *options.get(way, ()))
        like = ("--preprocess", network.preprocess)
        try:
            _, seconds = call(
                *("prune", model, "-o", out, "-f", "-q", row.target, row.share),
                *(*how, *images, *like),
            )
        except SystemExit as refusal:
            return {"refused": str(refusal).strip().splitlines()[-1]}
        report = json.loads((self.folder / "pruned.report.json").read_text(encoding="utf-8"))
        printed, _ = call(
            *("evaluate", out, "--data", test, *like, "--against", model, "--json", "-", "-q")
        )
        scores = json.loads(printed)
        return {
            "top1": scores["top1"],
            "agreement": scores["agreement"],
            "kl": scores["mean_kl"],
            "search": report["search"],
            "achieved": report["achieved"],
            "removed": len(report["removed"]),
            "seconds": seconds,
        }


def table(bench: Bench, rows: Sequence[Row]) -> Iterator[str]:
    """A line for each way of some rows."""
    yield (
        "| network | asked | way | reached | branches gone | top-1 | agreement | KL"
        " | attempts, error | CPU time |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        asked = f"{'multiply-adds' if row.target == MACS else 'latency'} −{row.share:.0%}"
        for way in row.ways:
            made = bench.outcome(row, way)
            cells = [row.network, asked, way]
            if "refused" in made:
                cells += [made["refused"].removeprefix("reprune-onnx: "), *[""] * 6]
            else:
                reached = made["achieved"][row.target.strip("-").replace("-", "_")]
                cells += [
                    *(f"−{reached:.1%}", str(made["removed"] or "")),
                    "" if NETWORKS[row.network].agreement else f"{made['top1']:.2f}",
                    *(f"{made['agreement']:.2f}", f"{made['kl']:.3f}", _searched(made["search"])),
                    f"{made['seconds']:.0f} s",
                ]
            yield f"| {' | '.join(cells)} |"


def _searched(search: dict[str, Any] | None) -> str:
    if search is None:
        return ""
    return f"{search['attempts']}, {search['error_first']:.4f} → {search['error']:.4f}"


def main() -> None:
    names = sorted({row.network for row in ROWS})
    parts = {"search": SEARCH, "streams": STREAMS, "branches": BRANCHES}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--search", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    ways = [parts[name] for name in arguments.parts]
    rows = [row for row in ROWS if row.network in arguments.rows and row.ways in ways]
    for line in table(Bench(arguments.out, arguments.search), rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
