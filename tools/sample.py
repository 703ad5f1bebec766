"""The images of ../shared/data as arrays and folders that the tool reads."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_NAMES = (".jpg", ".jpeg", ".png")


def halves(archive: Path, file: Path, side: int = 224, resized: bool = False) -> Path:
    """Write the images of `pictures` to an .npz: the even ones to calibrate, the odd ones to test.

    It has x_train and x_test (n, 3, side, side), and the classes y_test (n,).
    """
    if not file.exists():
        x, y = (np.array(part) for part in zip(*pictures(archive, side, resized), strict=True))
        x = x.transpose(0, 3, 1, 2)
        np.savez(file, x_train=x[::2], x_test=x[1::2], y_test=y[1::2])
    return file


def pictures(
    archive: Path, side: int, resized: bool = False, every: int = 1
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield ``every`` so many images (side, side, 3) of an archive, sorted, with their classes.

    Of images of 256 pixels it is the middle, or all of them, ``resized`` (bicubic).
    """
    with tarfile.open(archive) as tar:
        members = sorted((m for m in tar if m.isfile()), key=lambda m: m.name)
        members = [m for m in members if m.name.lower().endswith(_NAMES)]
        classes = sorted({m.name.split("/")[-2] for m in members})
        for m in members[::every]:
            picture = Image.open(tar.extractfile(m)).convert("RGB")
            low = (256 - side) // 2
            if resized:
                picture = picture.resize((side, side), Image.Resampling.BICUBIC)
            else:
                picture = picture.crop((low, low, low + side, low + side))
            yield np.asarray(picture), classes.index(m.name.split("/")[-2])


def unpacked(archive: Path, folder: Path) -> Path:
    """Return the folder that an archive holds, unpacked in ``folder`` once."""
    target = folder / archive.name.split(".")[0]
    if not target.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return target
