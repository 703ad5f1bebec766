"""Images and labels in a ``.npz`` file, ``FILE.npz`` or ``FILE.npz:x_name,y_name``."""

from __future__ import annotations

import difflib
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

import numpy as np

from reprune_onnx.data.labels import CLASSES, Labels
from reprune_onnx.data.source import Answers, Raw, RawBatch, pick
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

Split = Literal["test", "train"]
_PREFERRED: dict[Split, tuple[str, ...]] = {"test": ("x", "x_test"), "train": ("x_train", "x")}

_BROKEN = (
    *(OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError, MemoryError, OverflowError),  # of a damaged header
)


@dataclass(frozen=True)
class ArraySource:
    """Images of one array: ``x[index]``, with labels ``y[index]``."""

    name: str
    x: Raw
    y: Answers | None
    index: Ints
    unused: str | None = None
    classes: None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.index)

    @property
    def labels(self) -> Answers | None:
        """All labels (n,)."""
        return None if self.y is None else self.y[self.index]

    def first(self) -> ArraySource:
        """Return the first image."""
        return self.at(np.arange(1))

    def sound(self) -> ArraySource:
        """Return itself: an array is read whole."""
        return self

    def take(self, n: int, rng: np.random.Generator | None) -> ArraySource:
        """Return ``n`` of the images: drawn by ``rng``, else evenly spread."""
        return self.at(pick(len(self.index), n, rng))

    def at(self, positions: Ints) -> ArraySource:
        """Return the images at ``positions``, in that order."""
        return replace(self, index=self.index[positions])

    def batches(self, size: int) -> Iterator[RawBatch]:
        """Yield the images in order."""
        for start in range(0, len(self.index), size):
            at = self.index[start : start + size]
            y = None if self.y is None else self.y[at]
            yield RawBatch(self.x[at], y, tuple(f"{self.name}[{i}]" for i in at))


def open_npz(path: Path, names: str, split: Split, labels: Labels = CLASSES) -> ArraySource:
    """Open the images of ``path``; ``names`` is ``x_name``, ``x_name,y_name`` or empty;
    ``x_name,`` leaves labels out.

    * Without a name the images are ``x`` or else ``x_test``, for ``split="train"`` ``x_train`` or
      else ``x``; or else the one array of rank 4 that there is.
    * Without a name the labels of ``x…`` are ``y…``, where the file has that, and those of the only
      array of rank 4, whatever its name, are ``y``.
    """
    headers = _headers(path)
    x_name, comma, y_name = (part.strip() for part in names.partition(","))
    x_name = x_name or _images(headers, path, split)
    y_name = y_name or ("" if comma else _labels(headers, x_name))
    name = f"{path}:{x_name}"

    x = _array(path, x_name, headers)
    if x.ndim != 4:
        raise DataError(
            f"{name}: an array of shape {x.shape} has rank {x.ndim}, not 4; images are "
            "(N, C, H, W) or (N, H, W, C), gray ones too"
        )
    if x.size == 0:
        raise DataError(f"{name}: an array of shape {x.shape} holds no images; give at least one")
    y = unused = None
    if y_name:
        _check_name(path, y_name, headers)
        y, unused = labels.read(
            lambda: _array(path, y_name, headers), len(x), f"{path}:{x_name},{y_name}"
        )
    return ArraySource(name, x, y, np.arange(len(x)), unused)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, Raw]:
    """Read the arrays called ``names``; DataError where one is missing."""
    headers = _headers(path)
    return {name: _array(path, name, headers) for name in names}


def _images(headers: dict[str, int], path: Path, split: Split) -> str:
    """Return the name of the array of images."""
    for name in _PREFERRED[split]:
        if name in headers:
            return name
    images = [name for name, rank in headers.items() if rank == 4]
    if len(images) == 1:
        return images[0]
    if not images:
        raise DataError(
            f"{path}: no array of rank 4 among {_listed(headers)}; "
            "save the images as x (N, C, H, W)"
        )
    raise DataError(
        f"{path}: {len(images)} arrays may be the images: {', '.join(images)}; "
        f"name one, as in {path.name}:{images[0]}"
    )


def _labels(headers: dict[str, int], x_name: str) -> str:
    """Return the name of the array of labels, empty where there is none."""
    same = f"y{x_name[1:]}"
    if x_name.startswith("x") and same in headers:
        return same
    alone = [rank for rank in headers.values() if rank == 4] == [4]
    return "y" if alone and "y" in headers else ""


def _headers(path: Path) -> dict[str, int]:
    """Return the rank of every array in the file, without reading the arrays."""
    with _reading(path, path), zipfile.ZipFile(path) as archive:
        ranks = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    ranks[member.removesuffix(".npy")] = _rank(file)
    if not ranks:
        raise DataError(f"{path}: no arrays in this file; write it with numpy.savez")
    return ranks


def _rank(file: IO[bytes]) -> int:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return len(np.lib.format.read_array_header_1_0(file)[0])
    if version == (2, 0):
        return len(np.lib.format.read_array_header_2_0(file)[0])
    return 0  # (3, 0) is written for structured types only: no images


def _check_name(path: Path, name: str, headers: dict[str, int]) -> None:
    if name not in headers:
        near = difflib.get_close_matches(name, headers, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise DataError(f"{path}: no array '{name}'; {hint}it has {_listed(headers)}")


def _array(path: Path, name: str, headers: dict[str, int]) -> Raw:
    _check_name(path, name, headers)
    with _reading(path, f"{path}:{name}"), np.load(path, allow_pickle=False) as arrays:
        array: Raw = arrays[name]
    return array


@contextmanager
def _reading(path: Path, what: object) -> Iterator[None]:
    """A damaged file is a DataError; that numpy took longer, as the file is old, is no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Reading `\.npy` or `\.npz` file required")
        try:
            yield
        except _BROKEN as error:
            if "allow_pickle" in str(error):
                raise DataError(
                    f"{what} is an array of Python objects, which is not read because that can run "
                    "code; save it as uint8 or float"
                ) from error
            raise _unreadable(path, error) from error


def _listed(headers: dict[str, int]) -> str:
    return ", ".join(f"{name} (rank {rank})" for name, rank in headers.items())


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path} cannot be read as .npz: {reason}; write it with numpy.savez")
