"""Reach the FLOPs cut of every row "REPrune" of the paper, on networks of random weights.

    python tools/reproduce/flops.py [-o docs/flops] [--rows resnet56 …]

Every row is two commands, which the result names: an export with seeded weights and distinct γ, and
`prune --preset paper --macs-reduction R`; of detectors with `--include '*backbone*'`, so that the
cut is of the backbone. What is reached, how wide the layers are and how exactly the pruned file
computes what the masked original does is written to OUT.json and OUT.md. Nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT)]

import onnx

from models.export import Recipe, export
from reprune_onnx.cli.app import app
from reprune_onnx.cli.edge import run

BACKBONE = ("--include", "*backbone*")
OLDER = ("--method", "representative")
SMALL = Recipe(min_size=192, proposals=100, detections=20)
"""Mask R-CNN with the same backbone, and less to compute behind it while the cut is proven."""


@dataclass(frozen=True)
class Row:
    """A row of the paper: the share of FLOPs that it cuts, and how the command says it."""

    tables: str
    network: str
    cut: float
    options: tuple[str, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def commands(self) -> tuple[list[str], list[str]]:
        """The command that makes the network, and the one that prunes it."""
        file = f"{self.network}.onnx"
        given = {
            "--min-size": self.recipe.min_size,
            "--proposals": self.recipe.proposals,
            "--detections": self.recipe.detections,
        }
        size = [text for key, n in given.items() if n is not None for text in (key, str(n))]
        prune = ["prune", file, "--preset", "paper", "--macs-reduction", f"{self.cut:g}"]
        return ["export", self.network, "-o", file, *size], [*prune, *self.options]


ROWS = (
    Row("1, 2", "resnet18", 0.4309),
    Row("1", "resnet34", 0.25),
    Row("1", "resnet34", 0.444),
    Row("1", "resnet50", 0.439),
    Row("1, 2, 3", "resnet50", 0.5609),
    Row("1", "resnet50", 0.756),
    Row("3", "resnet56", 0.4757),
    Row("2, 5, 10", "resnet56", 0.6038),
    Row("8", "mobilenet_v2_cifar", 0.4324),
    Row("8", "mobilenet_v2_cifar", 0.5608),
    Row("4", "ssd300_resnet50", 0.5, BACKBONE),
    Row("12", "maskrcnn_resnet50_fpn", 0.3, BACKBONE, SMALL),
    Row("2020", "resnet110", 0.49, OLDER),
    Row("2020", "resnet18", 0.418, OLDER),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/flops"))
    parser.add_argument("--rows", nargs="+", metavar="NETWORK", help="default: all")
    arguments = parser.parse_args()
    rows = [r for r in ROWS if not arguments.rows or r.network in arguments.rows]
    counted_rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            counted_rows.append(reach(row, Path(folder)))
            print(line(counted_rows[-1]), flush=True)
    data = {"machine": machine(), "rows": counted_rows}
    arguments.out.with_suffix(".json").write_text(
        json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    )
    arguments.out.with_suffix(".md").write_text(markdown(data))


def reach(row: Row, folder: Path) -> dict[str, Any]:
    """Run the two commands of a row; what the report says."""
    model = folder / f"{row.network}.onnx"
    if not model.exists():
        onnx.save(export(row.network, row.recipe), model)
    out = folder / "pruned.onnx"
    _, prune = row.commands
    args = [prune[0], str(model), *prune[2:], "-o", str(out), "--force", "--quiet"]
    if code := run(app, args):
        sys.exit(code)
    report = json.loads((folder / "pruned.report.json").read_text())
    scope = report["scope"]
    macs = [report[k]["macs"] for k in ("before", "after")] if scope is None else scope["macs"]
    verification = report["verification"]
    return {
        "tables": row.tables,
        "network": row.network,
        "export": " ".join(["python -m models", *row.commands[0]]),
        "command": " ".join(["reprune-onnx", *(f"'{a}'" if "*" in a else a for a in prune)]),
        "published_cut": row.cut,
        "cut": report["achieved"]["macs_reduction"],
        "macs": macs,
        "sparsity": report["achieved"]["sparsity"],
        "difference": verification["max_abs_diff"] / verification["scale"],
        "wrong_cut": verification["negative_control"] / verification["scale"],
        "widths": {
            layer["node"]: layer["out_channels"]
            for layer in report["layers"]
            if layer["out_channels"][1] < layer["out_channels"][0]
        },
    }


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    before, after = (f"{m / 1e6:,.1f}" for m in row["macs"])
    cells = [
        row["tables"],
        row["network"],
        f"{100 * row['published_cut']:.2f}",
        f"{100 * row['cut']:.2f}",
        f"{before} → {after}",
        len(row["widths"]),
        f"{row['difference']:.1e}",
        f"{row['wrong_cut']:.1e}",
        f"`{row['command']}`",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def markdown(data: dict[str, Any]) -> str:
    """The table, with what it was made by."""
    heads = ["table", "network", "published cut, %", "reached, %", "M MACs", "layers cut"]
    heads += ["differs by", "a wrong cut by", "command"]
    lines = [
        "# The FLOPs cuts of the paper, reached on random weights",
        "",
        "Made by `python tools/reproduce/flops.py`; the networks by `python -m models export`, as"
        " [flops.json](flops.json) says, which holds the layers' widths too. Differences are in"
        " units of the outputs' scale. Nothing is trained: these are cuts, not accuracies.",
        "",
        f"| {' | '.join(heads)} |",
        "|" + "---|" * len(heads),
        *(line(row) for row in data["rows"]),
        "",
        ", ".join(f"{k} {v}" for k, v in data["machine"].items()),
        "",
    ]
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """Processor and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    packages = ("onnx", "onnxruntime", "numpy", "torch", "torchvision")
    facts = {
        "cpu": names[0] if names else platform.processor(),
        "python": platform.python_version(),
    }
    return facts | {name: version(name) for name in packages}


if __name__ == "__main__":
    main()
