"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BOARD = Path("/proc/device-tree/model")  # what an ARM board calls itself
_CPU = Path("/proc/cpuinfo")
_MEMORY = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_GPU = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]


def machine(versions: Mapping[str, str], gpu: bool) -> dict[str, Any]:
    """Return the facts of this machine; its ``name`` is the GPU's where that computes."""
    gpus = _gpus() if gpu else []
    cpu = _cpu()
    return {
        "name": gpus[0]["name"] if gpus else cpu,
        "cpu": cpu,
        "cpus": cpus(),
        "memory_bytes": memory("MemTotal"),
        "gpus": gpus,
        "os": platform.platform(),
        "versions": {"python": platform.python_version(), **versions},
    }


def cpus() -> int:
    """The processors that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def memory(which: str = "MemAvailable") -> int | None:
    """The bytes of memory that there are, or are free; None where the system does not say.

    Of a container, what it may use.
    """
    lines = _text(_MEMORY).splitlines()
    found = next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{which}:")), None)
    limit, used = (_text(_CGROUP / f"memory.{name}").strip() for name in ("max", "current"))
    if found is not None and limit.isdigit():
        free = which == "MemAvailable" and used.isdigit()
        found = min(found, max(0, int(limit) - (int(used) if free else 0)))
    return found


def _cpu() -> str:
    if board := _text(_BOARD).strip("\0\n "):
        return board
    for line in _text(_CPU).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    if platform.system() == "Darwin" and (
        name := _said("sysctl", "-n", "machdep.cpu.brand_string")
    ):
        return name
    return platform.processor() or platform.machine()


def _gpus() -> list[dict[str, str]]:
    rows = [line.rpartition(",") for line in _said(*_GPU).splitlines()]
    return [{"name": name.strip(), "driver": driver.strip()} for name, _, driver in rows]


def _said(*command: str) -> str:
    """What a program prints; nothing where it is not here, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
