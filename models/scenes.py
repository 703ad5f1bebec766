"""Scenes of handwritten digits: small images with what detectors and segmentation networks learn.

``python -m models.scenes`` (needs torch, torchvision and pillow, some minutes on one core)
draws the scenes from ``digits.npz``, trains both networks, and writes, beside this file,
``scenes.npz``, ``scenes_detector.onnx`` and ``scenes_segmenter.onnx``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
SIDE = 48  # pixels
DIGITS = 3  # per scene
SMALLEST, LARGEST = 14, 20  # sides of a digit's square, pixels
TRAINED, KEPT, TESTED = 1500, 96, 64  # scenes to train on; of them kept in the file; to test on
INK = 90  # gray value from which a pixel belongs to its digit


class Scenes(NamedTuple):
    """Images ``x`` (N, 1, 48, 48) uint8 with three digits each.

    ``masks`` (N, 48, 48) uint8 holds 0 for paper and 1 + digit for ink; ``boxes`` (N, 3, 4) int64
    are x1, y1, x2, y2 in pixels, and ``digits`` (N, 3) int64 the digits in them.
    """

    x: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    digits: np.ndarray


def draw(images: np.ndarray, labels: np.ndarray, n: int, rng: np.random.Generator) -> Scenes:
    """Put digits of ``images`` (M, 1, 8, 8), 0..16, on ``n`` scenes so that none touch."""
    scenes = Scenes(
        np.zeros((n, 1, SIDE, SIDE), np.uint8),
        np.zeros((n, SIDE, SIDE), np.uint8),
        np.zeros((n, DIGITS, 4), np.int64),
        np.zeros((n, DIGITS), np.int64),
    )
    for k in range(n):
        taken = np.zeros((SIDE, SIDE), bool)
        for d in range(DIGITS):
            which = int(rng.integers(len(images)))
            side, x, y = _place(taken, rng)
            small = Image.fromarray(np.minimum(images[which, 0] * 16, 255).astype(np.uint8))
            gray = np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))
            at = (slice(y, y + side), slice(x, x + side))
            scenes.x[k, 0][at] = gray
            scenes.masks[k][at][gray >= INK] = labels[which] + 1
            rows, columns = (np.flatnonzero((gray >= INK).any(axis)) for axis in (1, 0))
            corners = (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)
            scenes.boxes[k, d], scenes.digits[k, d] = corners, labels[which]
            taken[at] = True
    return scenes


def _place(taken: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return side, x and y of a square that is free."""
    while True:
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        x, y = (int(v) for v in rng.integers(0, SIDE - side + 1, 2))
        if not taken[y : y + side, x : x + side].any():
            return side, x, y


def main() -> None:
    """Draw, train, write the files and print how good the networks are."""
    from models import scene_detector, scene_segmenter

    with np.load(HERE / "digits.npz") as digits:
        rng = np.random.default_rng(0)
        trained = draw(digits["x_train"], digits["y_train"], TRAINED, rng)
        tested = draw(digits["x"], digits["y"], TESTED, rng)
    kept = {f"{name}_train": values[:KEPT] for name, values in trained._asdict().items()}
    np.savez_compressed(HERE / "scenes.npz", **tested._asdict(), **kept)
    for recipe in (scene_detector, scene_segmenter):  # the second starts from the first
        start = time.perf_counter()
        said = recipe.write(trained, tested, HERE)
        print(f"{said}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
