"""Images that a dataset of objects lists, and what is said of those without objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reprune_onnx.data.image_folder import SUFFIXES, ImageFile, hidden
from reprune_onnx.errors import DataError
from reprune_onnx.note import Note


def images_below(folder: Path) -> list[ImageFile]:
    """The images of a folder and all folders in it, sorted by path."""
    paths = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return [
        ImageFile(str(p), p)
        for p in sorted(paths)
        if not any(map(hidden, p.relative_to(folder).parts))
    ]


def unlabelled(name: str, missing: Sequence[Path], n: int) -> tuple[Note, ...]:
    """The note of images whose label file is ``missing``; DataError where that are all ``n``.

    They count as images without objects.
    """
    if not missing:
        return ()
    if len(missing) == n:
        raise DataError(
            f"'{name}': none of the {n} images has a label file, such as '{missing[0]}'; give data"
            " with labels, or the original with --against"
        )
    which = "1 image has" if len(missing) == 1 else f"{len(missing)} images have"
    return (
        Note(
            f"{which} no label file, such as '{missing[0]}', of {n}: taken as images without"
            " objects"
        ),
    )
