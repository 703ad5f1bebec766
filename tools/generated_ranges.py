"""The range that the tool finds for real models, beside the one that they were trained with.

    python tools/generated_ranges.py

Prints a Markdown row for each model of ../shared/models whose preprocessing is documented: the
range that `--calibration generated` finds for the model, and, where it differs from the documented
one, the top-1 accuracy of both, or of a detector what black and white become by both. The tool does
not look for the order of colours, so both have the right one.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from detectors import DETECTORS
from sample import pictures

import reprune_onnx as rp
from reprune_onnx.activations.generated.make import make
from reprune_onnx.data.alternatives import swapped
from reprune_onnx.data.open import open_data
from reprune_onnx.data.preprocess import Preprocess, parse_preprocess
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.types import Model

SHARED = ROOT.parent / "shared"
_IMAGES = "generated:64"
_CIFAR = SHARED / "data" / "cifar10_lossless.npz"
_SAMPLE = SHARED / "data" / "imagenet_sample_256.tar"


@dataclass(frozen=True)
class Documented:
    """A model, what it was trained with, and the side of its images; of the sample, else CIFAR.

    A detector has no top-1 accuracy; some leave the shapes of their inputs open.
    """

    model: str
    truth: str
    side: int | None = None
    detects: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


_RESNETS = ("20_cifar10_bn", "20_cifar10_folded", "20_cifar10_dynamo", "20_cifar10_jpeg_bn")
_RESNETS += ("32_cifar10_bn", "56_cifar10_bn", "56_cifar10_folded", "56_cifar10_dynamo")
_RESNETS += ("56_cifar10_jpeg_bn",)
MODELS = (
    *(Documented(f"resnet{name}", "cifar10") for name in _RESNETS),
    Documented("derived_shufflenetv2_fp32", "imagenet", 224),
    Documented("derived_squeezenet_fp32", "imagenet-bgr", 224),
    Documented("mobilenetv2_dogs", "scale=1/127.5;mean=1,1,1;std=1,1,1", 160),
    *(
        Documented(name, public.preprocess, detects=True, shapes=public.shapes)
        for name, public in DETECTORS.items()
    ),
)


def main() -> None:
    print("| model | trained with | found | by | top-1 % (detectors: black to white) with either |")
    print("|---|---|---|---|---|")
    for documented in MODELS:
        print(row(documented), flush=True)


def row(documented: Documented) -> str:
    model = rp.load(SHARED / "models" / f"{documented.model}.onnx")
    settings = rp.Settings(sparsity=0.5, calibration=_IMAGES, input_shapes=documented.shapes)
    chosen_range = make(model, settings).generated.range
    truth = of_bytes(documented.truth)
    cells = [
        documented.model,
        f"`{documented.truth}`",
        f"`{chosen_range.preprocess}`",
        chosen_range.by,
    ]
    mine = chosen_range.preprocess
    if truth.color == "bgr":
        mine = swapped(mine, 3) or mine
    if affine(mine) == affine(truth):
        return f"| {' | '.join(cells)} | the same |"
    if documented.detects:
        return f"| {' | '.join(cells)} | {spread(truth)} / {spread(mine)} |"
    both = [
        accuracy(model, documented, str(replace(how, size=None, crop=None)))
        for how in (truth, mine)
    ]
    return f"| {' | '.join(cells)} | {both[0]:.2f} / {both[1]:.2f} |"


def of_bytes(how: str) -> Preprocess:
    """The preprocessing that a ``--preprocess`` gives 8-bit images."""
    return parse_preprocess(how).resolve(np.dtype(np.uint8), np.dtype(np.float32))


def affine(how: Preprocess) -> list[list[float]]:
    """The values that 0 and 255 become in three channels."""
    scale = 1.0 if how.scale is None else how.scale
    mean, std = (np.broadcast_to(v or (d,), 3) for v, d in ((how.mean, 0.0), (how.std, 1.0)))
    return [np.round((x * scale - mean) / std, 3).tolist() for x in (0, 255)]


def spread(how: Preprocess) -> str:
    """What black and white become, the mean over the colours."""
    black, white = (float(np.mean(values)) for values in affine(how))
    return f"{black:.3g} to {white:.3g}"


def accuracy(model: Model, documented: Documented, how: str) -> float:
    port = image_input(model.proto, {})
    with tempfile.TemporaryDirectory() as folder:
        data = open_data(
            _data(documented, Path(folder)),
            preprocess=how,
            input_shape=port.shape,
            dtype=port.dtype,
        )
        return float(rp.evaluate(model, data).top1 or 0.0)


def _data(documented: Documented, folder: Path) -> str:
    if documented.side is None:
        return f"{_CIFAR}:x_test,y_test"
    x, y = (
        np.array(part) for part in zip(*pictures(_SAMPLE, documented.side, every=4), strict=True)
    )
    np.savez(folder / "sample.npz", x=x.transpose(0, 3, 1, 2), y=y)
    return str(folder / "sample.npz")


if __name__ == "__main__":
    main()
