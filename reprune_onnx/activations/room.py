"""The memory that activations may take, and a count of the bytes that do not fit in."""

from __future__ import annotations

import re
from threading import Lock

from reprune_onnx.errors import UsageError
from reprune_onnx.memory import available_memory

_SHARE = 2  # of what is free: the networks themselves and the moments of a layer need the rest
_LEAST = 256 << 20
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Room:
    """Bytes that activations may take in memory; what finds no room goes to a disk.

    Without a ``limit`` it is half of what is free when the room is made. ``written`` counts the
    bytes that went to a disk.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._free = max(_LEAST, available_memory() // _SHARE) if limit is None else limit
        self.written = 0
        self._lock = Lock()

    def take(self, n: int) -> bool:
        """Take ``n`` bytes, if there are so many."""
        with self._lock:
            fits = n <= self._free
            self._free -= n if fits else 0
            return fits

    def give_back(self, n: int) -> None:
        """Let others take ``n`` bytes again."""
        with self._lock:
            self._free += n

    def count_written(self, n: int) -> None:
        """Count ``n`` bytes that went to a disk."""
        with self._lock:
            self.written += n


def parse_size(text: str) -> int:
    """The bytes that a size such as 512M, 2G or 1.5GiB stands for, with K = 1024.

    >>> parse_size("1.5GiB") == 3 << 29
    True
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if match is None:
        raise UsageError(f"--memory '{text}' is no size such as 512M or 2G")
    return int(float(match[1]) * (1 << _UNITS[match[2]]))
