"""The images of a folder, or of a tar of one, and the label of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np

from reprune_onnx.data.class_names import ClassNames
from reprune_onnx.data.source import Split
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
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
    """A sub-folder (``file`` is None), an image, or a file of another kind, ``left_out``.

    ``parts`` is its path below the root.
    """

    parts: tuple[str, ...]
    file: ImageFile | None = None
    left_out: bool = False


@dataclass(frozen=True)
class Labelled:
    """The images of a folder in sorted order.

    ``labels (n,)`` are numbers of ``classes``, None where there are no sub-folders. ``left_out``
    counts the files of other kinds by suffix.
    """

    files: tuple[ImageFile, ...]
    labels: Ints | None
    classes: tuple[str, ...] | None
    left_out: tuple[tuple[str, int], ...]


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out: dot files and what macOS adds."""
    return name.startswith(".") or name == "__MACOSX"


def list_folder(root: Path) -> list[Entry]:
    """Return the sub-folders and images below ``root``, a few levels deep."""
    return _entries(root, ())


def _entries(folder: Path, parts: tuple[str, ...]) -> list[Entry]:
    listed = []
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be listed: {error.strerror}; check its path and permissions"
        ) from error
    for child in children:
        if hidden(child.name):
            continue
        below = (*parts, child.name)
        if child.is_dir():
            listed.append(Entry(below))
            if len(below) < _DEPTH:
                listed += _entries(child, below)
        elif child.suffix.lower() in SUFFIXES:
            if not child.is_file():  # opening a pipe waits for ever, a device may have no end
                raise DataError(
                    f"{child} is no ordinary file (a pipe, a device, a link to nothing); remove it"
                )
            listed.append(Entry(below, ImageFile(str(child), child)))
        else:
            listed.append(Entry(below, left_out=True))
    return listed


def label_images(
    entries: Sequence[Entry], name: str, split: Split, names: ClassNames | None = None
) -> Labelled:
    """Return the images in sorted order with their labels; DataError where there is no order.

    * Images in sub-folders: the position of the sub-folder in sorted order is the label, or its
      position in ``names``. Names that are all numbers are sorted as numbers. An empty sub-folder
      keeps its position.
    * Images in the folder itself: no labels.
    * Where the folder holds nothing but one folder of sub-folders, or folders of sub-folders named
      ``train`` and ``test`` (or ``val``), that one, or the one of ``split``, is taken.
    """
    entries = sorted(entries, key=lambda entry: entry.parts)
    while (inner := _inner([e for e in entries if not e.left_out], split)) is not None:
        entries = [
            replace(e, parts=e.parts[1:]) for e in entries if e.parts[0] == inner and e.parts[1:]
        ]
    others = Counter(PurePath(e.parts[-1]).suffix.lower() for e in entries if e.left_out)
    left_out = tuple(sorted(others.items()))
    entries = [entry for entry in entries if not entry.left_out]
    images = [(entry.parts, entry.file) for entry in entries if entry.file is not None]
    if not images:
        more = f"; {left_out_text(left_out)}" if left_out else ""
        raise DataError(
            f"{name}: no images ({', '.join(SUFFIXES)}) in this folder{more}; check the path"
        )
    depths = {len(parts) for parts, _ in images}
    files = tuple(file for _, file in images)
    if depths == {1}:
        return Labelled(files, None, None, left_out)
    if depths == {2}:
        folders = in_order({e.parts[0] for e in entries if e.file is None or len(e.parts) > 1})
        number = {folder: i for i, folder in enumerate(folders)}
        classes = tuple(folders)
        if names is not None and (numbers := names.numbers(folders, name)) is not None:
            number, classes = numbers, names.names
        labels = np.array([number[parts[0]] for parts, _ in images], dtype=np.int64)
        return Labelled(files, labels, classes, left_out)
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


def in_order(folders: Collection[str]) -> list[str]:
    """Return names of folders sorted; as numbers where all of them are numbers.

    >>> in_order(["10", "9", "0"]), in_order(["10", "9", "dog"])
    (['0', '9', '10'], ['10', '9', 'dog'])
    """
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        return sorted(folders, key=lambda folder: (int(folder), folder))
    return sorted(folders)


def left_out_text(left_out: Sequence[tuple[str, int]]) -> str:
    """Say how many files are not read, and of which kinds.

    >>> left_out_text([(".heic", 12), ("", 1)])
    '13 files are no images that are read: .heic (12), without a suffix (1)'
    """
    total = sum(n for _, n in left_out)
    kinds = ", ".join(f"{suffix or 'without a suffix'} ({n})" for suffix, n in left_out)
    verb = "file is no image that is" if total == 1 else "files are no images that are"
    return f"{total} {verb} read: {kinds}"


def _inner(entries: Sequence[Entry], split: Split) -> str | None:
    """Return the folder that holds the class folders, where it is not the root itself."""
    images = [entry.parts for entry in entries if entry.file is not None]
    tops = {entry.parts[0] for entry in entries}
    if not images or min(len(parts) for parts in images) < 3:
        return None
    if len(tops) == 1:
        return next(iter(tops))
    split_words = {word for words in SPLITS.values() for word in words}
    chosen = [top for top in SPLITS[split] if top in tops]
    return chosen[0] if chosen and tops <= split_words else None
