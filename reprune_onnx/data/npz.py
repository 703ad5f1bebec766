"""The arrays of a ``.npz`` or ``.npy`` file, known by their headers until one is read."""

from __future__ import annotations

import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from reprune_onnx.data.named_arrays import Header, NamedArrays
from reprune_onnx.data.source import Raw
from reprune_onnx.errors import DataError

_BROKEN = (
    *(OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError, MemoryError, OverflowError),  # of a damaged header
)


def npz_arrays(path: Path) -> NamedArrays:
    """Return the arrays of a ``.npz``; DataError where it cannot be read or has none."""
    with _reading(path, path), zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    headers[member.removesuffix(".npy")] = _header(file)
    if not headers:
        raise DataError(f"{path}: no arrays in this file; write it with numpy.savez")
    return NamedArrays(str(path), headers, partial(_member, path))


def npy_arrays(path: Path) -> NamedArrays:
    """Return the one array of a ``.npy``, which has no name; DataError where it cannot be read."""
    with _reading(path, path), path.open("rb") as file:
        header = _header(file)
    return NamedArrays(str(path), {"": header}, lambda _: _array(path))


def _header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:  # (3, 0) is written for structured types only: no data for a model
        return Header((), np.dtype(np.void))
    return Header(shape, dtype)


def _member(path: Path, name: str) -> Raw:
    with _reading(path, f"{path}:{name}"), np.load(path, allow_pickle=False) as arrays:
        array: Raw = arrays[name]
    return array


def _array(path: Path) -> Raw:
    with _reading(path, path):
        array: Raw = np.load(path, allow_pickle=False)
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


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    suffix = path.suffix.lower()
    wanted = "numpy.save" if suffix == ".npy" else "numpy.savez"
    return DataError(f"{path} cannot be read as {suffix}: {reason}; write it with {wanted}")
