"""The memory of this machine, or of the container that this process runs in."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Literal

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")  # of version 2
_UNKNOWN = 2 << 30  # where the system does not tell


def memory(which: Literal["MemTotal", "MemAvailable"]) -> int | None:
    """The bytes of memory that there are, or are free; None where the system does not say.

    Of a container, what it may use.
    """
    stated = _stated(which)
    limit, used = (
        system_text(_CONTAINER / f"memory.{name}").strip() for name in ("max", "current")
    )
    if stated is None or not limit.isdigit():
        return stated
    taken = int(used) if which == "MemAvailable" and used.isdigit() else 0
    return min(stated, max(0, int(limit) - taken))


def available_memory() -> int:
    """The bytes that are free, or a guess where the system does not say."""
    free = memory("MemAvailable")
    return _UNKNOWN if free is None else free


_PAGES = {"MemTotal": "SC_PHYS_PAGES", "MemAvailable": "SC_AVPHYS_PAGES"}


def _stated(which: Literal["MemTotal", "MemAvailable"]) -> int | None:
    """The bytes that Linux states; elsewhere those of all pages, or of the fewer free ones."""
    for line in system_text(_MEMINFO).splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) << 10
    try:
        return os.sysconf(_PAGES[which]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def system_text(path: Path) -> str:
    """The text of a file of the system; empty where the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def give_back() -> None:
    """Give memory that was freed back to the system, which glibc keeps in case it is wanted again.

    Arrays of some megabytes lie among others, so that glibc would keep some times what is in use.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # of glibc alone
        trim(0)
