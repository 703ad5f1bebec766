"""Image files as a source: decoded one at a time, as they are asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from reprune_onnx.data.image_folder import ImageFile, label_images, list_folder
from reprune_onnx.data.npz import Split
from reprune_onnx.data.preprocess import Color
from reprune_onnx.data.source import Raw, RawBatch, pick
from reprune_onnx.data.tar import list_tar
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

Mode = Literal["L", "RGB", "RGBA"]
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")


@dataclass(frozen=True)
class ImageSource:
    """Encoded images, decoded to uint8 (h, w, c) with the c of Pillow's ``mode``."""

    name: str
    files: tuple[ImageFile, ...]
    labels: Ints | None
    mode: Mode = "RGB"
    unused: None = None

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.files)

    def take(self, n: int, rng: np.random.Generator | None) -> ImageSource:
        """Return ``n`` of the images: drawn by ``rng``, else evenly spread."""
        return self.at(pick(len(self.files), n, rng))

    def at(self, positions: Ints) -> ImageSource:
        """Return the images at ``positions``, in that order."""
        labels = None if self.labels is None else self.labels[positions]
        return ImageSource(self.name, tuple(self.files[i] for i in positions), labels, self.mode)

    def batches(self, size: int) -> Iterator[RawBatch]:
        """Yield the images in order; each is decoded when the batch is iterated over."""
        for start in range(0, len(self.files), size):
            files = self.files[start : start + size]
            y = None if self.labels is None else self.labels[start : start + size]
            images = (decode(file, self.mode) for file in files)
            yield RawBatch(images, y, tuple(file.name for file in files))


def open_images(path: Path, mode: Mode, split: Split) -> ImageSource:
    """Open a folder or a tar of images."""
    entries = list_folder(path) if path.is_dir() else list_tar(path)
    files, labels = label_images(entries, str(path), split)
    return ImageSource(str(path), files, labels, mode)


def decoded_mode(color: Color | None, channels: int | None) -> Mode:
    """Return how images are decoded for a model that takes ``channels``."""
    if color == "gray" or (color is None and channels == 1):
        return "L"
    return "RGBA" if color is None and channels == 4 else "RGB"


def decode(file: ImageFile, mode: Mode) -> Raw:
    """Return the pixels (h, w, c) uint8; DataError naming the file if it is no 8-bit image."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file.read()), formats=_FORMATS) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;"):
                raise DataError(
                    f"{file.name}: pixels of mode {image.mode} are not 8-bit; convert the image "
                    "to 8 bits per channel, or give the values as a .npz"
                )
            if "transparency" in image.info:
                image = image.convert("RGBA")  # noqa: PLW2901 (a palette's transparency, first)
            pixels = np.asarray(image.convert(mode))
    except DataError:
        raise
    except Exception as error:  # Pillow's plugins raise anything on a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{file.name} cannot be read as an image: {reason}; replace or remove it"
        ) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels
