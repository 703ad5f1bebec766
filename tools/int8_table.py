"""Pruning and int8: accuracy, size and latency of float, pruned, int8 and both.

    python tools/int8_table.py -o /tmp/int8

Networks of ../shared/models, by `prune --then int8` on unlabelled images, judged on others. Prints
a Markdown table for each, which is also `NAME.md` in the folder. What lies in the folder already is
not made again. Latency is the CPU time of one thread for one image, all models in turns, as other
work on the machine does not count in it. `qdq` is a ResNet-20 that ONNX Runtime's quantizer put in
QDQ form before it is pruned, beside the float file pruned by the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import numpy as np
from network import Network

import reprune_onnx as rp
from reprune_onnx.activations.images import images_to_fit
from reprune_onnx.activations.opened import Wanted, open_for
from reprune_onnx.data.reading import Reading
from reprune_onnx.int8.quantizer import calibrated
from reprune_onnx.int8.stage import in_int8
from reprune_onnx.latency.interleaved import Turns, in_turns
from reprune_onnx.pipeline import prune_file
from reprune_onnx.report.files import Destination, int8_path
from reprune_onnx.runtime.ort import Session

_IMAGES = 256  # on which the file in QDQ form has its ranges measured


CIFAR = {"images": 932, "preprocess": "cifar10", "data": "cifar10_lossless.npz"}
NETWORKS = {
    "resnet20": Network("resnet20_cifar10_bn", (0.3, 0.5), **CIFAR),
    "resnet56": Network("resnet56_cifar10_bn", (0.3, 0.5), **CIFAR),
    "squeezenet": Network(
        "derived_squeezenet_fp32", (0.3, 0.5), 500, "imagenet-bgr", side=224, residual="keep"
    ),
    "qdq": Network("resnet20_cifar10_bn", (0.3, 0.5), **CIFAR),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", type=int, help="images to calibrate on, in place of all")
    parser.add_argument("--reductions", nargs="+", type=float)
    parser.add_argument("--seconds", type=float, default=6.0, help="of timing each set of models")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        network = NETWORKS[name]
        rows = of_qdq if name == "qdq" else partial(of_both, seconds=arguments.seconds)
        images = arguments.images or network.images
        shares = arguments.reductions or network.reductions
        text = "\n".join(rows(network, images, shares, arguments.out)) + "\n"
        (arguments.out / f"{name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


def of_both(
    network: Network, images: int, reductions: Sequence[float], out: Path, seconds: float
) -> Iterator[str]:
    """Four rows for every reduction."""
    source = network.file
    yield f"{network.model}"
    yield ""
    yield "| MACs | | top-1 | bytes | ms | layers in float |"
    yield "|---|---|--:|--:|--:|--:|"
    for share in reductions:
        path = out / f"{network.model}-{share:g}.onnx"
        report = pruned(source, network, images, share, path, then="int8")
        entry = report["int8"]
        original = out / f"{network.model}-int8.onnx"
        if not original.exists():
            rp.save(_in_int8(source, network, images, out), original)
        files = {
            "float": source,
            "pruned": path,
            "int8": original,
            "pruned int8": int8_path(path),
        }
        floats = sum(layer["in_float"] for layer in entry["layers"])
        times = cpu_ms(files, seconds)
        for row in entry["rows"]:
            name = row["model"]
            top1 = accuracy(files[name], network, out)
            kept = f"{floats} of {len(entry['layers'])}" if name == "pruned int8" else ""
            macs = f"−{share:.0%}" if "pruned" in name else ""
            size, ms = row["bytes"], times[name]
            yield f"| {macs} | {name} | {top1:.2f} | {size:,} | {ms:.3g} | {kept} |"


def _in_int8(source: Path, network: Network, images: int, out: Path) -> rp.Model:
    """The original in int8, as the command makes it for its row."""
    model = rp.load(source)
    fit, held_out = images_to_fit(model.proto, settings(network, images, 0.3, out)).split()
    return in_int8(model, fit, held_out).model


def of_qdq(network: Network, images: int, reductions: Sequence[float], out: Path) -> Iterator[str]:
    """A file in QDQ form, pruned; and the float file, pruned by the same command."""
    source = network.file
    quantized = out / f"{network.model}-qdq.onnx"
    if not quantized.exists():
        model = rp.load(source)
        seen = images_to_fit(model.proto, settings(network, _IMAGES, 0.3, out))
        rp.save(calibrated(model, seen, "onnxruntime").quantized(), quantized)
    titles = {"QDQ": quantized, "float": source}
    yield f"{network.model}, method reconstruction"
    yield ""
    yield "| | " + " | ".join(["top-1", *(f"−{share:.0%}" for share in reductions)]) + " |"
    yield "|---|" + "--:|" * (1 + len(reductions))
    for title, file in titles.items():
        cells = [accuracy(file, network, out)]
        for share in reductions:
            path = out / f"{file.stem}-alone-{share:g}.onnx"
            pruned(file, network, images, share, path)
            cells.append(accuracy(path, network, out))
        yield f"| {title} | {' | '.join(f'{cell:.2f}' for cell in cells)} |"


def settings(
    network: Network, images: int, share: float, out: Path, then: Any = None
) -> rp.Settings:
    """The settings that a network is pruned with."""
    return rp.Settings(
        macs_reduction=share,
        method="reconstruction",
        residual=network.residual,
        calibration=network.arrays(out)[0],
        calibration_size=images,
        preprocess=network.preprocess,
        then=then,
    )


def pruned(
    source: Path, network: Network, images: int, share: float, path: Path, then: Any = None
) -> dict[str, Any]:
    """The report of a pruning, which is done where the file is not there."""
    destination = Destination.of(source, path, None, force=True, dry_run=False)
    if then is not None:
        destination = destination.with_int8()
    if not destination.report.exists():
        prune_file(source, settings(network, images, share, path.parent, then), destination)
    report: dict[str, Any] = json.loads(destination.report.read_text(encoding="utf-8"))
    return report


def cpu_ms(files: Mapping[str, Path], seconds: float) -> dict[str, float]:
    """The median CPU time in ms of a run on one image, by one thread."""
    sessions = [Session(path, optimize=True, threads=1) for path in files.values()]
    runs = []
    for session in sessions:
        port = session.inputs[0]
        shape = tuple(n or 1 for n in port.shape)
        image = np.random.default_rng(0).standard_normal(shape).astype(port.dtype)
        runs.append(session.bind({port.name: image}).run)
    turns = Turns(seconds=seconds, fewest=20, most=400, warm_up=0.5, clock=time.process_time)
    times = 1e3 * np.median(in_turns(runs, turns), axis=0)
    return dict(zip(files, times.tolist(), strict=True))


def accuracy(file: Path, network: Network, out: Path) -> float:
    """Top-1 accuracy in per cent on the images that nothing was fitted to."""
    model = rp.load(file)
    wanted = Wanted(network.arrays(out)[1], Reading(network.preprocess))
    top1 = rp.evaluate(model, open_for(model.proto, wanted, {})).top1
    assert top1 is not None
    return top1


if __name__ == "__main__":
    main()
