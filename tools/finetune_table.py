"""The table of fine-tuning in docs/training.md: start, what is added, rate, top-1, CPU time.

    python tools/finetune_table.py --models ../shared/models --data cifar10_lossless.npz

Each row prunes a ResNet-20, fine-tunes what is left with no option but the data, with its labels or
without, and evaluates the written files on other images. Every step is the command that a user
would give, on one thread; its CPU time is what the system counts for it, the system's own included.
The last line names the machine and the versions.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from timed import call

from reprune_onnx.benchmark.machine import machine

FILES = {
    "live": "resnet20_cifar10_bn.onnx",
    "folded": "resnet20_cifar10_folded.onnx",
    "dynamo": "resnet20_cifar10_dynamo.onnx",
}
HEADS = ("start", "images", "rate found", "top-1 before", "top-1 after", "CPU time")
VERSIONS = ("torch", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the ONNX files")
    parser.add_argument("--data", type=Path, required=True, help=".npz of x_train … y_test")
    parser.add_argument("--rows", nargs="+", choices=[*FILES], default=[*FILES])
    parser.add_argument("--images", type=int, help="training images; default: all")
    parser.add_argument("--preprocess", default="cifar10")
    parser.add_argument("--macs-reduction", default="0.4")
    parser.add_argument("--recover", default="auto", help="as of prune")
    parser.add_argument("--epochs", help="as of finetune; default: its own")
    parser.add_argument("--seed", help="as of finetune; default: its own")
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        split(arguments.data, arguments.images, place)
        for name in arguments.rows:
            for cells in rows(name, arguments, place):
                print(f"| {' | '.join(cells)} |", flush=True)
    told = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    print(f"\n{machine({}, gpu=False)['name']}, one thread; {told}")


def split(data: Path, images: int | None, place: Path) -> None:
    """Files of labelled and of bare training images, and of the images to test on."""
    with np.load(data) as arrays:
        x, y = arrays["x_train"][:images], arrays["y_train"][:images]
        np.savez(place / "labels.npz", x=x, y=y)
        np.savez(place / "none.npz", x=x)
        np.savez(place / "test.npz", x=arrays["x_test"], y=arrays["y_test"])


def rows(name: str, arguments: argparse.Namespace, place: Path) -> list[list[str]]:
    """The cells of the rows of one file: with labels, and without."""
    source, pruned = arguments.models / FILES[name], place / f"{name}.onnx"
    like = ("--preprocess", arguments.preprocess)
    how = ("--macs-reduction", arguments.macs_reduction, "--recover", arguments.recover)
    call("prune", source, "-o", pruned, *how, "--calibration", place / "none.npz", *like)
    before, cells = top1(pruned, place, like), []
    for labels in ("labels", "none"):
        out = place / f"{name}-{labels}.onnx"
        asked = {"--epochs": arguments.epochs, "--seed": arguments.seed}
        more = [word for pair in asked.items() if pair[1] is not None for word in pair]
        data = ("--data", place / f"{labels}.npz", *like)
        said, seconds = call("finetune", pruned, *data, *more, "-o", out)
        rate = re.search(r"learning rate ([\d.e-]+)", said)
        after = "as given" if "as given" in said.splitlines()[-1] and "so OUT holds" in said else ""
        after = after or f"{top1(out, place, like):.2f} %"
        shown_rate = rate[1] if rate else "–"
        cells.append([name, labels, shown_rate, f"{before:.2f} %", after, f"{seconds:.0f} s"])
    return cells


def top1(model: Path, place: Path, like: tuple[str, ...]) -> float:
    """Top-1 accuracy on the test images, in percent."""
    printed, _ = call("evaluate", model, "--data", place / "test.npz", *like, "--json", "-")
    return float(json.loads(printed)["top1"])


if __name__ == "__main__":
    main()
