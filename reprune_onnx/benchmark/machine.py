"""The machine that a measurement was made on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprune_onnx.memory import memory, system_text

_BOARD = Path("/proc/device-tree/model")  # what an ARM board calls itself
_CPU = Path("/proc/cpuinfo")
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


def _cpu() -> str:
    if board := system_text(_BOARD).strip("\0\n "):
        return board
    for line in system_text(_CPU).splitlines():
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
    """The text that a program prints; empty where the program is not here, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
