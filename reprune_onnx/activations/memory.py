"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")
_UNKNOWN = 2 << 30  # where the system does not tell


def available_memory() -> int:
    """Return the bytes that are free, or that a container's limit leaves if that is less."""
    free = [n for n in (_free(), _left_in_container()) if n is not None]
    return max(0, min(free, default=_UNKNOWN))


def _free() -> int | None:
    """What Linux calls available; elsewhere the free pages, which is less."""
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _left_in_container() -> int | None:
    """What is left of a cgroup's limit (version 2); None without one."""
    try:
        limit = (_CONTAINER / "memory.max").read_text().strip()
        return int(limit) - int((_CONTAINER / "memory.current").read_text())
    except (OSError, ValueError):
        return None
