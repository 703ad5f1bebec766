"""The boxes of several detectors on the same photographs, as one picture.

    python tools/boxes.py model.onnx small.onnx --data photos/ --preprocess yolox -o boxes.png

One row for each model, one column for each photograph. Raw outputs are decoded as `evaluate --task
detection` does it; boxes of a score below `--sure` are not drawn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import reprune_onnx as rp
from reprune_onnx.data.class_names import class_names_for
from reprune_onnx.data.preprocess import parse_preprocess
from reprune_onnx.runtime.detector import Detector

_ENDINGS = (".jpg", ".jpeg", ".png")
_COLOURS = ("#1de9b6", "#ffab00", "#40c4ff", "#ff5252", "#b388ff", "#eeff41")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--preprocess")
    parser.add_argument("--decode")
    parser.add_argument("--classes", type=Path, help="names of the classes, as for evaluate")
    parser.add_argument("--sure", type=float, default=0.4, help="least score of a box")
    parser.add_argument("--most", type=int, default=5, help="photographs at most")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    files = sorted(p for p in arguments.data.iterdir() if p.suffix.lower() in _ENDINGS)
    if not files:
        parser.error(f"no .jpg or .png in '{arguments.data}'")
    photos = [np.asarray(Image.open(p).convert("RGB")) for p in files[: arguments.most]]
    how = parse_preprocess(arguments.preprocess)
    detectors, names = {}, None
    for path in arguments.models:
        model = rp.load(path)
        names = names or class_names_for(arguments.classes, model.proto)
        detectors[path.stem] = Detector(model, how, decode=arguments.decode)
    labels = None if names is None else names.names
    for title, found in draw(detectors, photos, labels, arguments.sure, arguments.out).items():
        print(f"{title}: {found} boxes on {len(photos)} photographs")


def draw(
    detectors: dict[str, Detector],
    photos: list[np.ndarray],
    names: tuple[str, ...] | None,
    sure: float,
    out: Path,
) -> dict[str, int]:
    """Write the picture, and return how many boxes each detector drew."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    widths = [photo.shape[1] / photo.shape[0] for photo in photos]
    figure, axes = plt.subplots(
        len(detectors),
        len(photos),
        figsize=(2.6 * sum(widths), 2.75 * len(detectors)),
        width_ratios=widths,
        squeeze=False,
        layout="constrained",
    )
    drawn = dict.fromkeys(detectors, 0)
    for row, (title, detector) in zip(axes, detectors.items(), strict=True):
        row[0].set_ylabel(title)
        for axis, photo in zip(row, photos, strict=True):
            axis.imshow(photo)
            axis.set(xticks=[], yticks=[])
            seen = detector.detect(photo, title)
            for box, label, score in zip(seen.boxes, seen.labels, seen.scores, strict=True):
                if score < sure:
                    continue
                drawn[title] += 1
                x1, y1, x2, y2 = box
                colour = _COLOURS[int(label) % len(_COLOURS)]
                frame = plt.Rectangle(
                    (x1, y1), x2 - x1, y2 - y1, fill=False, color=colour, linewidth=1.5
                )
                axis.add_patch(frame)
                name = names[label] if names and 0 <= label < len(names) else str(label)
                axis.text(
                    *(max(x1, 0), max(y1, 0)),
                    f"{name} {score:.2f}",
                    color="black",
                    backgroundcolor=colour,
                    fontsize=7,
                    va="top",
                    clip_on=True,
                )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=64)
    plt.close(figure)
    return drawn


if __name__ == "__main__":
    main()
