"""CIFAR-10 and CIFAR-100 as they are published and as torchvision unpacks them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reprune_onnx.data.array_source import ArraySource
from reprune_onnx.data.labels import CLASSES, LabelFormat
from reprune_onnx.data.source import Split
from reprune_onnx.errors import DataError

_SETS = {"cifar-10-batches-py": "CIFAR10", "cifar-100-python": "CIFAR100"}


def cifar_folder(path: Path) -> Path | None:
    """Return the folder of CIFAR's files: ``path`` itself, or the only one that lies in it."""
    if path.name in _SETS:
        return path if path.is_dir() else None
    inside = [path / name for name in _SETS if (path / name).is_dir()]
    return inside[0] if len(inside) == 1 else None


def open_cifar(folder: Path, split: Split, labels: LabelFormat = CLASSES) -> ArraySource:
    """Open the training or test images, x (n, 32, 32, 3) uint8, and their classes as ``labels``.

    The files are pickles, which can run code: torchvision opens them, and only those whose
    checksums are the published ones. Raises DataError for others, and where torchvision is missing.
    """
    folder = folder.resolve()
    try:
        from torchvision import datasets
    except ImportError as error:
        raise DataError(
            f"{folder} holds CIFAR's own files, which torchvision reads: pip install torchvision,"
            " or give the images as a .npz"
        ) from error
    try:
        images = getattr(datasets, _SETS[folder.name])(folder.parent, train=split == "train")
    except RuntimeError as error:
        raise DataError(
            f"{folder}: a file is missing, or its checksum is not the published one; unpack the"
            " archive again"
        ) from error
    numbers = np.asarray(images.targets, dtype=np.int64)
    y, unused = labels.read(lambda: numbers, len(numbers), str(folder))
    return ArraySource(str(folder), images.data, y, np.arange(len(numbers)), unused)
