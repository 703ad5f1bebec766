"""Which files of a folder, or of a tar of one, are images, and which label each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reprune_onnx.data.npz import Split
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
SPLITS: dict[Split, tuple[str, ...]] = {"test": ("test", "val"), "train": ("train",)}
_DEPTH = 5  # wrapper/split/class/image and one more to notice what is nested too deep


@dataclass(frozen=True)
class ImageFile:
    """An encoded image: ``length`` bytes of ``path`` from ``offset``, by default the whole file."""

    name: str
    path: Path
    offset: int = 0
    length: int = -1

    def read(self) -> bytes:
        """Return the encoded bytes."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass(frozen=True)
class Entry:
    """A sub-folder (``file`` is None) or an image; ``parts`` is its path below the root."""

    parts: tuple[str, ...]
    file: ImageFile | None = None


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out: dot files and what macOS adds."""
    return name.startswith(".") or name == "__MACOSX"


def list_folder(root: Path) -> list[Entry]:
    """Return the sub-folders and images below ``root``, a few levels deep."""
    return _entries(root, ())


def _entries(folder: Path, parts: tuple[str, ...]) -> list[Entry]:
    found = []
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be listed: {error.strerror}; check its permissions"
        ) from error
    for child in children:
        if hidden(child.name):
            continue
        below = (*parts, child.name)
        if child.is_dir():
            found.append(Entry(below))
            if len(below) < _DEPTH:
                found += _entries(child, below)
        elif child.suffix.lower() in SUFFIXES:
            if not child.is_file():  # opening a pipe waits for ever, a device may have no end
                raise DataError(
                    f"{child} is no ordinary file (a pipe, a device, a link to nothing); remove it"
                )
            found.append(Entry(below, ImageFile(str(child), child)))
    return found


def label_images(
    entries: Sequence[Entry], name: str, split: Split
) -> tuple[tuple[ImageFile, ...], Ints | None]:
    """Return the images in sorted order and their labels (n,); DataError where there is no order.

    * Images in sub-folders: the position of the sub-folder in sorted order is the label. An empty
      sub-folder keeps its position.
    * Images in the folder itself: no labels.
    * Where the folder holds nothing but one folder of sub-folders, or folders of sub-folders named
      ``train`` and ``test`` (or ``val``), that one, or the one of ``split``, is taken.
    """
    entries = sorted(entries, key=lambda entry: entry.parts)
    while (inner := _inner(entries, split)) is not None:
        entries = [
            Entry(e.parts[1:], e.file) for e in entries if e.parts[0] == inner and e.parts[1:]
        ]
    images = [(entry.parts, entry.file) for entry in entries if entry.file is not None]
    if not images:
        raise DataError(f"{name}: no images ({', '.join(SUFFIXES)}) in this folder; check the path")
    depths = {len(parts) for parts, _ in images}
    files = tuple(file for _, file in images)
    if depths == {1}:
        return files, None
    if depths == {2}:
        classes = sorted({e.parts[0] for e in entries if e.file is None or len(e.parts) > 1})
        number = {folder: i for i, folder in enumerate(classes)}
        return files, np.array([number[parts[0]] for parts, _ in images], dtype=np.int64)
    if 1 in depths:
        here = next(file for parts, file in images if len(parts) == 1)
        raise DataError(
            f"{name}: images both in the folder ({Path(here.name).name}) and in sub-folders; "
            "move them all into sub-folders, one per class, or into one folder"
        )
    deep = next(parts for parts, _ in images if len(parts) > 2)
    raise DataError(
        f"{name}: '{'/'.join(deep)}' lies {len(deep) - 1} folders deep, not 1; give the folder "
        "whose sub-folders are the classes"
    )


def _inner(entries: Sequence[Entry], split: Split) -> str | None:
    """Return the folder that holds the class folders, where it is not the root itself."""
    images = [entry.parts for entry in entries if entry.file is not None]
    tops = {entry.parts[0] for entry in entries}
    if not images or min(len(parts) for parts in images) < 3:
        return None
    if len(tops) == 1:
        return next(iter(tops))
    known = {word for words in SPLITS.values() for word in words}
    chosen = [top for top in SPLITS[split] if top in tops]
    return chosen[0] if chosen and tops <= known else None
