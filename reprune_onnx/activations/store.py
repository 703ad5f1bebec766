"""Arrays by name and batch: in memory while there is room, beyond it in files without a name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from io import RawIOBase
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.room import Room
from reprune_onnx.errors import DataError


@dataclass(frozen=True)
class _Spilled:
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Store:
    """Arrays of several tensors, batch by batch, in memory as far as ``room`` has any left.

    Several stores may share one room.

    A temporary file has no name where the system allows it, so that nothing is left behind however
    the process ends.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._arrays: dict[tuple[str, int], NDArray[Any] | _Spilled] = {}
        self._files: dict[str, RawIOBase] = {}
        self._lock = Lock()

    def put(self, name: str, batch: int, array: NDArray[Any]) -> None:
        """Keep ``array``; DataError where there is no room for it."""
        with self._lock:
            if (name, batch) in self._arrays:
                self._forget((name, batch))
            if self._room.take(array.nbytes):
                self._arrays[name, batch] = array
                return
            try:
                file = self._files.get(name)
                if file is None:
                    # No buffer of its own: what a full disk does not take is said here, not later.
                    file = tempfile.TemporaryFile(prefix="reprune-", buffering=0)  # noqa: SIM115
                    self._files[name] = file
                offset = file.seek(0, 2)
                _all(file.write, np.ascontiguousarray(array))
            except OSError as error:
                raise DataError(
                    f"no room for {array.nbytes / 1e6:.0f} MB of activations in"
                    f" '{tempfile.gettempdir()}' ({error.strerror or error}): give fewer images"
                    " with --calibration-size, or set TMPDIR to a larger disk"
                ) from error
            self._room.count_written(array.nbytes)
            self._arrays[name, batch] = _Spilled(offset, array.shape, array.dtype)

    def get(self, name: str, batch: int) -> NDArray[Any]:
        """Return what was kept."""
        kept = self._arrays[name, batch]
        if not isinstance(kept, _Spilled):
            return kept
        array = np.empty(kept.shape, kept.dtype)
        with self._lock:
            file = self._files[name]
            file.seek(kept.offset)
            _all(file.readinto, array)
        return array

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """Return the shape of what was kept, which is not read for that."""
        return self._arrays[name, batch].shape

    def drop(self, name: str, batch: int) -> None:
        """Forget an array."""
        with self._lock:
            self._forget((name, batch))

    def keep(self, names: Collection[str], batches: int) -> None:
        """Forget all but the first batches of some tensors."""
        with self._lock:
            for key in list(self._arrays):
                if key[0] not in names or key[1] >= batches:
                    self._forget(key)
            for name in self._files.keys() - {name for name, _ in self._arrays}:
                self._files.pop(name).close()

    def _forget(self, key: tuple[str, int]) -> None:
        array = self._arrays.pop(key, None)
        if array is not None and not isinstance(array, _Spilled):
            self._room.give_back(array.nbytes)

    def names(self) -> set[str]:
        """Return the tensors that are kept."""
        return {name for name, _ in self._arrays}

    def __del__(self) -> None:
        for key in list(self._arrays):
            self._forget(key)
        for file in self._files.values():
            file.close()


def _all(step: Callable[[memoryview], int | None], array: NDArray[Any]) -> None:
    """Read or write all bytes of an array, of which the system takes at most 2 GB at once."""
    rest = array.reshape(-1).view(np.uint8).data
    while rest:
        n = step(rest)
        if not n:
            raise OSError("nothing could be read or written")
        rest = rest[n:]
