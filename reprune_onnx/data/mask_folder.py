"""Masks beside images: two folders whose files have the same names but for the suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from reprune_onnx.data.image_folder import SPLITS, Entry, ImageFile
from reprune_onnx.data.source import Answers, Split
from reprune_onnx.errors import DataError

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
MASKS = ("masks", "mask", "annotations", "labels", "segmentationclass", "gtfine", "gt")
_ENDINGS = ("_mask", "-mask", "_gt", "_label", "_segmentation")
_LISTED = 3

Pairs = tuple[tuple[ImageFile, ...], tuple[ImageFile, ...]]


def paired_masks(entries: Sequence[Entry], name: str, split: Split) -> Pairs | None:
    """Return the images and their masks, sorted; None where there are no two such folders.

    A folder ``images`` (or another of `IMAGES`) and one ``masks`` (or another of `MASKS`) hold the
    same paths, but for the suffix and an ending such as ``_mask``. Folders ``train`` and ``val``
    may stand above or below them; then that of ``split`` is taken. Raises DataError for an image
    without a mask.
    """
    images, masks = _keyed(entries, IMAGES), _keyed(entries, MASKS)
    if not images or not masks:
        return None
    images = _of_split(images, split)
    lacking = [file.name for key, file in images.items() if key not in masks]
    if lacking:
        listed = ", ".join(lacking[:_LISTED]) + (", …" if len(lacking) > _LISTED else "")
        raise DataError(
            f"{name}: {len(lacking)} of {len(images)} images have no mask of the same name"
            f" ({listed}); add them, or remove these images"
        )
    keys = sorted(images)
    return tuple(images[key] for key in keys), tuple(masks[key] for key in keys)


def images_beside_masks(entries: Sequence[Entry], split: Split) -> tuple[ImageFile, ...]:
    """Return the images alone that `paired_masks` looks for masks of, sorted."""
    images = _of_split(_keyed(entries, IMAGES), split)
    return tuple(images[key] for key in sorted(images))


def _keyed(entries: Sequence[Entry], names: tuple[str, ...]) -> dict[tuple[str, ...], ImageFile]:
    """The files below a folder of one of these names, by the rest of their paths."""
    files_by_stem = {}
    for entry in entries:
        place = next((i for i, p in enumerate(entry.parts[:-1]) if p.lower() in names), None)
        if entry.file is None or place is None:
            continue
        stem = PurePosixPath(entry.parts[-1]).stem
        if names is MASKS:
            ending = next((e for e in _ENDINGS if stem.lower().endswith(e)), "")
            stem = stem[: len(stem) - len(ending)]
        key = (*entry.parts[:place], *entry.parts[place + 1 : -1], stem)
        files_by_stem[key] = entry.file
    return files_by_stem


def _of_split(
    images: dict[tuple[str, ...], ImageFile], split: Split
) -> dict[tuple[str, ...], ImageFile]:
    tops = {key[0] for key in images if len(key) > 1}
    split_words = {word for words in SPLITS.values() for word in (*words, "training", "validation")}
    if not tops or not tops <= split_words:
        return images
    wanted = (*SPLITS[split], "training" if split == "train" else "validation")
    chosen = next((top for top in wanted if top in tops), None)
    return images if chosen is None else {k: f for k, f in images.items() if k[0] == chosen}


def decode_mask(file: ImageFile) -> Answers:
    """Return a mask (h, w) as stored: a palette's indices, or gray values.

    Raises DataError for one in colours, which say no class.
    """
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(file.read())) as image:
            pixels = np.asarray(image)
    except Exception as error:  # Pillow's plugins raise anything on a broken file
        reason = type(error).__name__
        raise DataError(
            f"{file.name} cannot be read as a mask ({reason}); replace or remove it"
        ) from error
    if pixels.ndim == 3 and (pixels[..., :3] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or pixels.dtype.kind not in "iub":
        raise DataError(
            f"{file.name} is a picture in colours, not a mask; give class numbers as a gray or"
            " palette image"
        )
    return pixels.astype(np.int32 if pixels.dtype.itemsize > 1 else np.uint8)
