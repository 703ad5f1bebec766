"""The command in a process of its own that something happens to."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  loaded before the forks, as all that a command imports
import onnxruntime  # noqa: F401  loaded before the forks too
import rich.progress  # noqa: F401  loaded before the forks too
import typer.rich_utils  # noqa: F401  loaded before the forks too

import reprune_onnx.atomic
import reprune_onnx.cli.app
import reprune_onnx.pipeline
import reprune_onnx.sweeps.run
import reprune_onnx.sweeps.write
from reprune_onnx.cli import main

NOBODY = 65534


@dataclass(frozen=True)
class Fault:
    """A fault: ``signal`` after some seconds, or at the n-th call of a step of writing.

    ``size`` is the largest file that may be written, as on a disk that is full; ``nobody`` runs the
    command as a user who may not write.
    """

    name: str
    signal: int = 0
    seconds: float | None = None
    step: tuple[str, int] | None = None
    size: int | None = None
    nobody: bool = False


STEPS = ("mkstemp", "fdopen", "fsync", "chmod", "replace")
"""The calls of `reprune_onnx.atomic` to the system for every file, in this order."""


@dataclass(frozen=True)
class Ended:
    """The end of the command: an exit code, or minus the signal, and its text on stderr."""

    code: int
    said: str


@dataclass(frozen=True)
class Child:
    """A process, and the pipe of what it says."""

    pid: int
    said: int


def start(folder: Path, argv: list[str], fault: Fault) -> Child:
    """Run the command in ``folder`` in a child that shares nothing with us.

    The child is forked, with all modules loaded: what is interrupted is work, not imports.
    """
    reading, writing = os.pipe()
    # An interrupt waits until the child has a stderr of its own to say it on.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        os.close(writing)
        return Child(pid, reading)
    code = 99
    try:
        os.chdir(folder)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.stdout, sys.stderr = (os.fdopen(k, "w", encoding="utf-8") for k in (1, 2))
        _prepare(fault)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        main(argv)
    except KeyboardInterrupt:  # before `main` began, which is no fault of it
        code = 130
        print("reprune-onnx: interrupted", file=sys.stderr)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: Child, fault: Fault) -> Ended:
    """Send the signal when its time has come, and wait for the end."""
    if fault.signal and fault.seconds is not None:
        time.sleep(fault.seconds)
        os.kill(child.pid, fault.signal)  # it is there until it is waited for
    _, status = os.waitpid(child.pid, 0)
    with os.fdopen(child.said, errors="replace") as said:
        return Ended(os.waitstatus_to_exitcode(status), said.read())


def _prepare(fault: Fault) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ours may be ignored, as after nohup
    if fault.size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.size, resource.RLIM_INFINITY))
    if fault.step is not None:
        _at_step(*fault.step, lambda: os.kill(os.getpid(), fault.signal))
    if fault.nobody:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _at_step(step: str, n: int, happens: Callable[[], None]) -> None:
    """Let it happen right before the n-th call of this step."""
    module = reprune_onnx.atomic
    owner = {"mkstemp": module.tempfile, "chmod": Path, "replace": Path}.get(step, os)
    real = getattr(owner, step)
    calls = 0

    def counted(*args: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == n:
            happens()
        return real(*args, **named)

    setattr(owner, step, counted)


SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
