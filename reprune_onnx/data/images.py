"""Image files as a source: decoded one at a time, as they are asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from reprune_onnx.data.image_folder import SUFFIXES, Entry, ImageFile, label_images, list_folder
from reprune_onnx.data.labels import CLASSES, Labels
from reprune_onnx.data.mask_folder import decode_mask, paired_masks
from reprune_onnx.data.npz import Split
from reprune_onnx.data.preprocess import Color
from reprune_onnx.data.source import Answers, Raw, RawBatch, pick
from reprune_onnx.data.table import table_of
from reprune_onnx.data.tar import list_tar
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

Mode = Literal["L", "RGB", "RGBA"]
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")


@dataclass(frozen=True)
class ImageSource:
    """Encoded images, decoded to uint8 (h, w, c) with the c of Pillow's ``mode``.

    ``masks``, one per image, are decoded with them, and take the place of ``labels``.
    """

    name: str
    files: tuple[ImageFile, ...]
    labels: Answers | None
    mode: Mode = "RGB"
    masks: tuple[ImageFile, ...] = ()
    unused: str | None = None

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
        files = tuple(self.files[i] for i in positions)
        masks = tuple(self.masks[i] for i in positions) if self.masks else ()
        return replace(self, files=files, labels=labels, masks=masks)

    def batches(self, size: int) -> Iterator[RawBatch]:
        """Yield the images in order; each is decoded when the batch is iterated over."""
        for start in range(0, len(self.files), size):
            files = self.files[start : start + size]
            names = tuple(file.name for file in files)
            if self.masks:
                masks = [decode_mask(file) for file in self.masks[start : start + size]]
                pairs = zip(files, masks, strict=True)
                yield RawBatch((_beside(f, self.mode, mask) for f, mask in pairs), masks, names)
                continue
            y = None if self.labels is None else self.labels[start : start + size]
            images = (decode(file, self.mode) for file in files)
            yield RawBatch(images, y, names)


def open_images(path: Path, mode: Mode, split: Split, labels: Labels = CLASSES) -> ImageSource:
    """Open a folder or a tar of images, with the labels that lie where ``labels`` says.

    Where labels are not needed, a folder with masks/ is read for its images/.
    """
    entries = list_folder(path) if path.is_dir() else list_tar(path)
    pairs = None
    if labels.beside == "masks" or not labels.needed:
        pairs = paired_masks(entries, str(path), split)
    if pairs is not None:
        masks = pairs[1] if labels.beside == "masks" else ()
        return ImageSource(str(path), pairs[0], None, mode, masks)
    if labels.beside == "masks":
        return _bare(path, entries, mode)
    if labels.beside == "table":
        return _with_table(path, entries, mode, labels)
    files, classes = label_images(entries, str(path), split)
    return ImageSource(str(path), files, classes, mode)


def _bare(path: Path, entries: Sequence[Entry], mode: Mode) -> ImageSource:
    """All images of a folder, whatever its sub-folders mean, without labels."""
    found = sorted((e for e in entries if e.file is not None), key=lambda e: e.parts)
    files = tuple(entry.file for entry in found if entry.file is not None)
    if not files:
        raise DataError(f"{path}: no images ({', '.join(SUFFIXES)}) in this folder; check the path")
    return ImageSource(str(path), files, None, mode)


def _with_table(path: Path, entries: Sequence[Entry], mode: Mode, labels: Labels) -> ImageSource:
    bare = _bare(path, entries, mode)
    if not path.is_dir():
        if labels.needed:
            raise DataError(f"{path}: a .tar's table is not read; unpack it, or give a .npz")
        return bare
    try:
        files, rows, table = table_of(path, entries)
        return ImageSource(str(path), files, labels.clean(rows, len(files), str(table)), mode)
    except DataError as error:
        if labels.needed:
            raise
        return replace(bare, unused=str(error))


def _beside(file: ImageFile, mode: Mode, mask: Answers) -> Raw:
    """Decode an image and see that its mask has its size."""
    image = decode(file, mode)
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"{file.name} is {image.shape[0]}×{image.shape[1]}, but its mask {mask.shape[0]}×"
            f"{mask.shape[1]}; give a mask of the image's size"
        )
    return image


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
