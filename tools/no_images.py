"""Accuracy of what is pruned without any image: the rows of ``accuracy.py --only no-images``.

Each row is one network and one target, pruned by the command that a user would give, in three ways:
by the file alone, with nothing said (generated images, where they do better), and with images of
the kind that the network was trained on. Commands that ran are not run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network import Network
from timed import call


@dataclass(frozen=True)
class Bare(Network):
    """A network that is pruned without images.

    Where its classes are not those of the sample, the original's answers count (``agreement``).

    ``n`` is how many images are generated in the ablation, which has the last reduction.
    """

    agreement: bool = False
    n: int = 0

    def given(self, lite1: Path | None) -> Path | None:
        """The ONNX file; None where it is not among those of ../shared and was not given."""
        return lite1 if self.model == LITE1 else self.file


LITE1 = "efficientnet_lite1"
_CIFAR = {"images": 932, "preprocess": "cifar10", "data": "cifar10_lossless.npz"}
_LITE = "scale=1/255;mean=127/255;std=128/255"
_KERAS = "scale=1/127.5;mean=1,1,1;std=1,1,1"
NETWORKS = {
    "resnet56": Bare("resnet56_cifar10_bn", (0.3, 0.5, 0.7), n=80, **_CIFAR),
    "resnet56-folded": Bare("resnet56_cifar10_folded", (0.5,), **_CIFAR),
    "resnet56-dynamo": Bare("resnet56_cifar10_dynamo", (0.5,), **_CIFAR),
    "resnet20": Bare("resnet20_cifar10_bn", (0.3, 0.5), n=80, **_CIFAR),
    "resnet56-jpeg": Bare(
        "resnet56_cifar10_jpeg_bn", (0.5,), 1000, "cifar10", "cifar10_jpeg.tar.gz"
    ),
    "squeezenet": Bare(
        "derived_squeezenet_fp32", (0.15,), 500, "imagenet-bgr", side=224, residual="keep"
    ),
    "shufflenetv2": Bare(
        "derived_shufflenetv2_fp32", (0.15,), 500, "imagenet", side=224, n=80, residual="keep"
    ),
    "mobilenetv2": Bare(
        "mobilenetv2_dogs", (0.15,), 500, _KERAS, side=160, resized=True, agreement=True, n=80
    ),
    "efficientnet-lite1": Bare(LITE1, (0.15, 0.3), 500, _LITE, side=240, n=24),
}
WAYS = ("data-free", "nothing said", "own images")


@dataclass(frozen=True)
class Place:
    """Where commands write what came of them, and a file of EfficientNet-Lite1, if there is one."""

    folder: Path
    lite1: Path | None = None

    def pruned(
        self, name: str, reduction: float, way: str, options: Sequence[object]
    ) -> dict[str, Any]:
        """Prune a network by a command with these options, and evaluate it: top-1 and the report's.

        {"top1", "seconds", "achieved", "taken", "errors", "preprocess", "choice"}
        """
        stored = self.folder / f"{name}-{reduction}-{way.replace(' ', '-')}.json"
        if not stored.exists():
            out = self.folder / "pruned.onnx"
            network = NETWORKS[name]
            target = ("--macs-reduction", reduction, "--residual", network.residual)
            model = network.given(self.lite1)
            _, seconds = call("prune", model, "-o", out, "-f", "-q", *target, *options)
            report = json.loads((self.folder / "pruned.report.json").read_text(encoding="utf-8"))
            row = {"top1": self.top1(name, out), "seconds": seconds, **_of_report(report)}
            stored.write_text(json.dumps(row), encoding="utf-8")
        return dict(json.loads(stored.read_text(encoding="utf-8")))

    def dense(self, name: str) -> float:
        """Top-1 accuracy of a network before pruning, in percent."""
        stored = self.folder / f"{name}.json"
        if not stored.exists():
            stored.write_text(json.dumps(self.top1(name, NETWORKS[name].given(self.lite1))))
        return float(json.loads(stored.read_text()))

    def top1(self, name: str, model: Path | None) -> float:
        """Top-1 accuracy, or agreement with the original, in percent."""
        network = NETWORKS[name]
        _, test = network.arrays(self.folder)
        like: tuple[object, ...] = ("--preprocess", network.preprocess)
        if network.agreement:
            test, like = test.removesuffix(",y_test"), (*like, "--against", network.file)
        printed, _ = call("evaluate", model, "--data", test, *like, "--json", "-", "-q")
        result = json.loads(printed)
        return float(result["agreement"] if network.agreement else result["top1"])

    def with_own(self, name: str, reduction: float) -> dict[str, Any]:
        """The result with images like those that the network was trained on."""
        network = NETWORKS[name]
        train, _ = network.arrays(self.folder)
        options = ("--calibration", train, "--calibration-size", network.images)
        options += ("--preprocess", network.preprocess)
        return self.pruned(name, reduction, "own images", options)

    def by_file(self, name: str, reduction: float) -> dict[str, Any]:
        """The result with the file alone."""
        return self.pruned(name, reduction, "data-free", ("--recover", "data-free"))


def _of_report(report: dict[str, Any]) -> dict[str, Any]:
    instead, generated = report["without_images"], (report["calibration"] or {}).get("generated")
    return {
        "achieved": report["achieved"]["macs_reduction"],
        "taken": instead and instead["taken"],
        "errors": instead and instead["error"],
        "generated": generated,
    }


def table(place: Place, names: Sequence[str]) -> Iterator[str]:
    """A Markdown row for each network and target: the three ways, and whether half is reached."""
    yield f"| network | multiply-adds | {' | '.join(WAYS)} | of the way | errors | CPU time |"
    yield "|---|---|" + "---|" * (len(WAYS) + 3)
    for name in names:
        network = NETWORKS[name]
        if network.given(place.lite1) is None:
            continue
        measure = "agreement" if network.agreement else f"{place.dense(name):.2f} before"
        for k, reduction in enumerate(network.reductions):
            bare = place.pruned(name, reduction, "nothing said", ())
            ends = place.by_file(name, reduction), place.with_own(name, reduction)
            tops = ends[0]["top1"], bare["top1"], ends[1]["top1"]
            cells = [
                "" if k else f"{name}, {measure}",
                f"−{bare['achieved']:.1%}",
                *(f"{top:.2f}" for top in tops),
                f"{(tops[1] - tops[0]) / (tops[2] - tops[0]):.0%}" if tops[2] > tops[0] else "–",
                _errors(bare),
                f"{bare['seconds']:.0f} s",
            ]
            yield f"| {' | '.join(cells)} |"


def _errors(row: dict[str, Any]) -> str:
    if not row["errors"]:
        return f"{row['taken']}, without a comparison"
    return " / ".join(f"{row['errors'][way]:.2g}" for way in ("generated", "data-free"))
