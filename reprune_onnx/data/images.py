"""Image files as a source: decoded one at a time, as they are asked for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from reprune_onnx.data.class_names import ClassNames
from reprune_onnx.data.image_folder import (
    SUFFIXES,
    Entry,
    ImageFile,
    label_images,
    left_out_text,
    list_folder,
)
from reprune_onnx.data.labels import CLASSES, LabelFormat
from reprune_onnx.data.mask_folder import decode_mask, images_beside_masks, paired_masks
from reprune_onnx.data.preprocess import Color
from reprune_onnx.data.source import Answers, Raw, RawBatch, Split, pick
from reprune_onnx.data.table import table_of
from reprune_onnx.data.tar import list_tar
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note
from reprune_onnx.types import Ints

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Mode = Literal["L", "RGB", "RGBA"]
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
_SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}
_AT_MOST_SIXTEEN = {"PNG", "PPM"}  # formats whose pixels Pillow may widen to 32 bits
_MEMORY_ADDRESS = re.compile(r" ?<[^<>]* object at 0x[0-9a-fA-F]+>")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, 5  # EXIF's tag, and the least value that swaps the sides
_SHOWN = 3  # broken images that are named


@dataclass(frozen=True)
class ImageSource:
    """Encoded images, decoded to uint8 (h, w, c) with the c of Pillow's ``mode``.

    ``masks``, one per image, are decoded with them, and take the place of ``labels``.
    ``labels (n,)`` are numbers of ``classes``. ``notes`` say what there is. With ``skip_broken``
    images that cannot be decoded are left out, see ``sound``.
    """

    name: str
    files: tuple[ImageFile, ...]
    labels: Answers | None
    mode: Mode = "RGB"
    masks: tuple[ImageFile, ...] = ()
    unused: str | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()
    skip_broken: bool = False

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

    def sound(self) -> ImageSource:
        """Return the images that can be decoded, where ``skip_broken``; else all of them.

        Every image is decoded once to see. DataError where all of them are broken.
        """
        if not self.skip_broken:
            return self
        with ThreadPoolExecutor() as threads:
            problems = list(threads.map(self.problem, range(len(self.files))))
        good = np.array([i for i, problem in enumerate(problems) if problem is None], np.int64)
        broken = [problem for problem in problems if problem is not None]
        if not len(good):
            raise self._none_left(broken)
        left = replace(self.at(good), skip_broken=False)
        if not broken:
            return left
        names = [file.name for file, problem in zip(self.files, problems, strict=True) if problem]
        more = ", …" if len(names) > _SHOWN else ""
        verb = "image is broken and" if len(names) == 1 else "images are broken and"
        shown = f"{', '.join(names[:_SHOWN])}{more}"
        note = Note(f"{self.name}: {len(names)} {verb} left out: {shown}")
        return replace(left, notes=(*self.notes, note))

    def first(self) -> ImageSource:
        """Return one image: the first, or with ``skip_broken`` the first that can be decoded.

        DataError where ``skip_broken`` leaves none.
        """
        if not self.skip_broken:
            return self.at(np.array([0]))
        broken: list[str] = []
        for i in range(len(self.files)):
            problem = self.problem(i)
            if problem is None:
                return self.at(np.array([i]))
            broken.append(problem)
        raise self._none_left(broken)

    def _none_left(self, problems: list[str]) -> DataError:
        which = f"all {len(problems)} images are" if len(problems) > 1 else "the only image is"
        return DataError(
            f"{self.name}: {which} broken, so --skip-broken leaves none: {problems[0]}"
        )

    def check(self, i: int) -> None:
        """Decode image i, and its mask; DataError where that fails, or their sizes differ."""
        if self.masks:
            _beside(self.files[i], self.mode, decode_mask(self.masks[i]))
        else:
            decode(self.files[i], self.mode)

    def problem(self, i: int) -> str | None:
        """Why image i cannot be used, or None."""
        try:
            self.check(i)
        except DataError as error:
            return str(error)
        return None

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


@dataclass(frozen=True)
class ReadingOptions:
    """The options for reading data: ``names`` give the order of the classes, if they are known.

    With ``skip_broken`` images that cannot be decoded are left out and counted. ``labels`` says
    which labels there are, and where they lie.
    """

    names: ClassNames | None = None
    skip_broken: bool = False
    labels: LabelFormat = CLASSES


def open_images(path: Path, mode: Mode, split: Split, how: ReadingOptions) -> ImageSource:
    """Open a folder or a tar of images, with the labels that lie where ``how.labels`` says.

    Where labels are not needed, a folder with masks/ is read for its images/.
    """
    labels = how.labels
    entries = list_folder(path) if path.is_dir() else list_tar(path)
    if labels.beside == "masks" or not labels.needed:
        source = _with_masks(path, entries, mode, split, how)
        if source is not None:
            return source
    if labels.beside == "masks":
        return replace(_bare(path, entries, mode), skip_broken=how.skip_broken)
    if labels.beside == "table":
        return replace(_with_table(path, entries, mode, labels), skip_broken=how.skip_broken)
    seen = label_images(entries, str(path), split, how.names)
    note = f"{path}: {len(seen.files)} image{'s' if len(seen.files) > 1 else ''}"
    if seen.classes is not None:
        n, first, last = len(seen.classes), seen.classes[0], seen.classes[-1]
        note += f" of {n} classes, 0 is '{first}' and {n - 1} is '{last}'"
        if how.names is not None and seen.classes is how.names.names:
            note += f" (the order is that of {how.names.source})"
    if seen.left_out:
        note += f"; {left_out_text(seen.left_out)}"
    source = ImageSource(str(path), seen.files, seen.labels, mode, skip_broken=how.skip_broken)
    return replace(source, classes=seen.classes, notes=(Note(note),))


def _with_masks(
    path: Path, entries: Sequence[Entry], mode: Mode, split: Split, how: ReadingOptions
) -> ImageSource | None:
    """The images that lie beside masks, with these; None where there are no two such folders.

    Masks that are not needed are left out where one is missing or cannot be read.
    """
    try:
        pairs = paired_masks(entries, str(path), split)
    except DataError as error:
        if how.labels.needed:
            raise
        files = images_beside_masks(entries, split)
        return ImageSource(
            str(path), files, None, mode, (), str(error), skip_broken=how.skip_broken
        )
    if pairs is None:
        return None
    source = ImageSource(str(path), pairs[0], None, mode, pairs[1], skip_broken=how.skip_broken)
    if how.labels.beside != "masks":
        return replace(source, masks=())
    if how.labels.needed or how.skip_broken:
        return source
    with ThreadPoolExecutor() as threads:
        problems = threads.map(source.problem, range(source.size))
        unused = next((problem for problem in problems if problem is not None), None)
    return source if unused is None else replace(source, masks=(), unused=unused)


def _bare(path: Path, entries: Sequence[Entry], mode: Mode) -> ImageSource:
    """All images of a folder, whatever its sub-folders mean, without labels."""
    in_order = sorted(entries, key=lambda entry: entry.parts)
    files = tuple(entry.file for entry in in_order if entry.file is not None)
    if not files:
        raise DataError(f"{path}: no images ({', '.join(SUFFIXES)}) in this folder; check the path")
    return ImageSource(str(path), files, None, mode)


def _with_table(
    path: Path, entries: Sequence[Entry], mode: Mode, labels: LabelFormat
) -> ImageSource:
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
    """Return the pixels (h, w, c) uint8; DataError naming the file if they cannot be had.

    * The image is turned upright as its EXIF orientation says.
    * 16 bits per channel become 8: 65535 is 255.
    * Of several pages or frames the first is read. Transparency is dropped unless ``mode`` has it.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(file.read()), formats=_FORMATS) as image:
            upright = ImageOps.exif_transpose(_eight_bit(image, file.name))
            pixels = np.asarray(upright.convert(mode))
    except DataError:
        raise
    except Exception as error:  # Pillow's plugins raise anything on a broken file
        reason = " ".join(_MEMORY_ADDRESS.sub("", str(error)).split()) or type(error).__name__
        raise DataError(
            f"{file.name} cannot be read as an image: {reason}; replace or remove it"
        ) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def image_size(file: ImageFile) -> tuple[int, int] | None:
    """Return the (h, w) that decoding gives, from the header alone; None where it is broken."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file.read()), formats=_FORMATS) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= _ON_ITS_SIDE
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # decoding it tells what is wrong
        return None


def _eight_bit(image: Picture, name: str) -> Picture:
    """Return the image with 8 bits per channel, its transparency as a channel."""
    from PIL import Image

    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in _AT_MOST_SIXTEEN):
        wide = np.asarray(image).astype(np.int64)
        narrow = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
        narrow.getexif().update(image.getexif())
        return narrow
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise DataError(
            f"{name}: pixels of mode {image.mode} have neither 8 nor 16 bits; convert the image "
            "to 8 bits per channel, or give the values as a .npz or .npy"
        )
    return image.convert("RGBA") if "transparency" in image.info else image
