"""CPU seconds and memory of a pruning with images: beside an earlier version, and as both grow.

    python tools/calibration_cost.py beside TREE -o FOLDER
    python tools/calibration_cost.py growth MODEL -o FOLDER [--plot docs/calibration.svg]

``beside`` prunes networks of ../shared/models on their images with this version and with the one in
TREE, a checkout of an earlier commit, one after the other, and evaluates what they write.
``growth`` prunes MODEL, an ONNX file with one input (n, 3, h, w) that leaves n, h and w open, on 32
to 2,048 images of 224×224, and on 128 images of 112×112 to 448×448. Its images are smooth random
ones, for what they show changes no cost. The plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from PIL import Image
from sample import halves, unpacked

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
COUNTS, SIDES = (32, 128, 512, 2048), (112, 224, 448)
SIDE, COUNT = 224, 128
_FINER = 8  # pixels of a random image from one value to the next


@dataclass(frozen=True)
class Row:
    """A network, its images, and the pruning that is measured."""

    model: str
    data: str
    images: int
    preprocess: str
    reduction: float
    residual: str


ROWS = {
    "ResNet-56": Row("resnet56_cifar10_bn", "cifar10_lossless.npz", 932, "cifar10", 0.5, "inner"),
    "ResNet-56, −70 %": Row(
        "resnet56_cifar10_bn", "cifar10_lossless.npz", 932, "cifar10", 0.7, "inner"
    ),
    "ResNet-56, 10,000 JPEG images": Row(
        "resnet56_cifar10_jpeg_bn", "cifar10_jpeg.tar.gz", 1000, "cifar10", 0.5, "inner"
    ),
    "ResNet-56, −70 %, 10,000 JPEG images": Row(
        "resnet56_cifar10_jpeg_bn", "cifar10_jpeg.tar.gz", 1000, "cifar10", 0.7, "inner"
    ),
    "SqueezeNet": Row(
        "derived_squeezenet_fp32", "imagenet_sample_256.tar", 500, "imagenet-bgr", 0.3, "keep"
    ),
    "ShuffleNetV2, −15 %": Row(
        "derived_shufflenetv2_fp32", "imagenet_sample_256.tar", 500, "imagenet", 0.15, "keep"
    ),
    "ShuffleNetV2": Row(
        "derived_shufflenetv2_fp32", "imagenet_sample_256.tar", 500, "imagenet", 0.3, "keep"
    ),
}


@dataclass(frozen=True)
class Cost:
    """``seconds`` of CPU time of all threads, and the most memory in ``megabytes``."""

    seconds: float
    megabytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ways = parser.add_subparsers(required=True, dest="way")
    beside = ways.add_parser("beside")
    beside.add_argument("tree", type=Path)
    beside.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    growing = ways.add_parser("growth")
    growing.add_argument("model", type=Path)
    growing.add_argument("--plot", type=Path)
    for way in (beside, growing):
        way.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.way == "beside":
        compare(arguments.rows, arguments.tree.resolve(), arguments.out)
    else:
        growth(arguments.model, arguments.out, arguments.plot)


def compare(rows: list[str], tree: Path, out: Path) -> None:
    """Print a row for each network: CPU seconds, memory and accuracy of both versions."""
    print(
        "| network | images | before, CPU s | now, CPU s | ratio | before, MB | now, MB"
        " | before, top-1 | now, top-1 |\n|---|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name in rows:
        row = ROWS[name]
        data, test = opened(row.data, out)
        costs, accuracies = [], []
        for version, code in (("before", tree), ("now", ROOT)):
            file = out / f"{name.replace(' ', '-')}-{version}.onnx"
            source = SHARED / "models" / f"{row.model}.onnx"
            costs.append(
                pruned(
                    code,
                    *(source, "-o", file, "--macs-reduction", row.reduction),
                    *("--residual", row.residual, "--method", "reconstruction"),
                    *("--calibration", data, "--calibration-size", row.images),
                    *("--preprocess", row.preprocess),
                )
            )
            accuracies.append(top1(file, test, row.preprocess))
        before, now = costs
        print(
            f"| {name} | {row.images} | {before.seconds:.1f} | {now.seconds:.1f} |"
            f" {now.seconds / before.seconds:.2f} | {before.megabytes} | {now.megabytes} |"
            f" {accuracies[0]:.2f} | {accuracies[1]:.2f} |",
            flush=True,
        )


def opened(data: str, out: Path) -> tuple[str, str]:
    """The data to calibrate with, and the data to test with."""
    path = SHARED / "data" / data
    if data.endswith(".npz"):
        return str(path), f"{path}:x_test,y_test"
    if data.endswith(".tar"):
        file = halves(path, out / "halves.npz")
        return str(file), f"{file}:x_test,y_test"
    folder = str(unpacked(path, out))
    return folder, folder


def growth(model: Path, out: Path, plot: Path | None) -> None:
    """Print the table of costs, and draw it if asked to."""
    print("| images | of pixels | CPU s | MB |\n|---|---|---|---|")
    by_side = {side: printed_cost(model, out, COUNT, side) for side in SIDES}
    by_count = {n: printed_cost(model, out, n, SIDE) for n in COUNTS}
    seconds = power(list(by_count), [c.seconds for c in by_count.values()])
    pixels = power([side**2 for side in by_side], [c.seconds for c in by_side.values()])
    print(f"\nCPU seconds grow as images^{seconds:.2f} and as pixels^{pixels:.2f}")
    if plot is not None:
        drawn(by_count, by_side, plot)


def printed_cost(model: Path, out: Path, n: int, side: int) -> Cost:
    """The cost of a pruning on ``n`` images of ``side`` pixels, whose row is printed at once."""
    cost = cost_on(model, out, n, side)
    print(f"| {n} | {side}×{side} | {cost.seconds:.1f} | {cost.megabytes} |", flush=True)
    return cost


def cost_on(model: Path, out: Path, n: int, side: int) -> Cost:
    """The cost of a pruning on ``n`` images of ``side`` pixels."""
    name = onnx.load(model, load_external_data=False).graph.input[0].name
    file = out / f"images-{n}-{side}.npz"
    if not file.exists():
        rng = np.random.default_rng(n)
        small = rng.integers(0, 256, (n, side // _FINER, side // _FINER, 3), dtype=np.uint8)
        np.savez(file, x_train=np.stack([np.array(_enlarged(x, side)) for x in small]))
    cost = pruned(
        ROOT,
        *(model, "-o", out / "pruned.onnx", "--macs-reduction", 0.3, "--input-shape"),
        *(f"{name}=1,3,{side},{side}", "--calibration", f"{file}:x_train", "--calibration-size", n),
        *("--preprocess", "imagenet"),
    )
    file.unlink()
    return cost


def _enlarged(small: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def pruned(code: Path, *words: object) -> Cost:
    """The cost of a prune command by the version in ``code``, on one thread of BLAS."""
    command = "from reprune_onnx.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "prune", *map(str, words), "--force", "--quiet"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(code)},
        cwd=code,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"prune {' '.join(map(str, words))} failed")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss >> 10)


def top1(file: Path, test: str, preprocess: str) -> float:
    """The accuracy of a file, in per cent, by the `evaluate` of this version."""
    command = "from reprune_onnx.cli import main; main()"
    words = ["evaluate", str(file), "--data", test, "--preprocess", preprocess]
    result = subprocess.run(
        [sys.executable, "-c", command, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    (share,) = re.findall(r"^top-1 ([\d.]+) %", result.stdout, re.MULTILINE)
    return float(share)


def power(sizes: list[int], values: list[float]) -> float:
    """The power of the sizes by which values grow: at most 1 is wanted.

    >>> round(power([1, 10, 100], [2.0, 20.0, 200.0]), 2)
    1.0
    """
    return float(np.polyfit([math.log(s) for s in sizes], np.log(values), 1)[0])


def drawn(by_count: dict[int, Cost], by_side: dict[int, Cost], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(8, 5.5), sharex="col", layout="constrained")
    columns = {
        f"images of {SIDE}×{SIDE}": by_count,
        f"pixels of each of {COUNT} images": {s**2: cost for s, cost in by_side.items()},
    }
    for column, (title, costs) in zip(axes.T, columns.items(), strict=True):
        sizes = list(costs)
        seconds, megabytes = zip(*((c.seconds, c.megabytes) for c in costs.values()), strict=True)
        for ax, label, values in zip(
            column, ("CPU seconds", "memory, MB"), (seconds, megabytes), strict=True
        ):
            ax.plot(sizes, values, "o-")
            linear = [values[-1] * n / sizes[-1] for n in sizes]
            ax.plot(sizes, linear, ":", color="gray", label="linear")
            ax.set(xscale="log", yscale="log", ylabel=label)
            ax.grid(alpha=0.3)
        column[1].set_xlabel(title)
        column[1].set_xticks(sizes, [f"{n:,}" for n in sizes])
        column[1].minorticks_off()
    axes[0, 0].legend()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
