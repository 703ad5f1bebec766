"""Commands of the tool as a user gives them, and the CPU time that they take."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def call(*words: object) -> tuple[str, float]:
    """Run a command on one thread: what it prints, and its CPU seconds; exit where it fails."""
    before = cpu_seconds()
    code = "from reprune_onnx.cli import main; main()"
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{result.stderr}")
    return result.stdout, cpu_seconds() - before


def cpu_seconds() -> float:
    """The CPU seconds of all commands so far, of user and system."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
