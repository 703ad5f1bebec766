"""The promises of the command about a file, as checks that raise where one is broken."""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mutate
import numpy as np
import typer
from seeds import DEMO, HALF, array, models, report

from reprune_onnx.cli.app import app
from reprune_onnx.cli.edge import run

COMMAND = typer.main.get_command(app)  # to make it takes longer than most files do
SECONDS = 10
MEMORY = 4 * 2**30
"""Bytes of address space, libraries included; a file of some kilobytes never needs more."""


@dataclass(frozen=True)
class Target:
    """A kind of file: some of it to start from, how it is changed, and how it is given to us."""

    seeds: tuple[bytes, ...]
    change: Callable[[bytes, random.Random, tuple[bytes, ...], mutate.Bytes], bytes]
    name: str
    arguments: Callable[[str], tuple[str, ...]]
    written: frozenset[str] = frozenset()
    packed: bool = False  # an array that becomes a .npz

    def write(self, folder: Path, data: bytes) -> None:
        if self.packed:
            with zipfile.ZipFile(folder / self.name, "w") as archive:
                archive.writestr("x.npy", data)
                archive.writestr("y.npy", array(np.zeros(6, np.int64)))
        else:
            (folder / self.name).write_bytes(data)


class BrokenPromiseError(AssertionError):
    """The command did with a file what it must not do with any."""


def mutated(data: bytes, seed: int, target: Target, flip: mutate.Bytes) -> bytes:
    """Return ``data`` changed, the same for the same seed."""
    return target.change(data, random.Random(seed), target.seeds, flip)


def kept(target: Target, data: bytes, examine: Callable[[Path], None] | None = None) -> str:
    """Give a file to the command, and raise BrokenPromiseError where it breaks one.

    ``examine`` is called with the folder of what was written, where something was. Returns what the
    command said where it refused, and nothing where it did not.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    before = Path.cwd()
    out, err = io.StringIO(), io.StringIO()
    try:
        target.write(folder, data)
        shutil.copy(DEMO, folder / "demo.onnx")
        os.chdir(folder)
        start = time.process_time()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _bounded():
            code = run(COMMAND, list(target.arguments(target.name)))
        _check(code, err.getvalue(), time.process_time() - start)
        left = {p.name for p in folder.iterdir()} - {target.name, "demo.onnx"}
        expected = target.written if code == 0 else set()
        if left != expected:
            raise BrokenPromiseError(
                f"exit code {code} left {sorted(left)}, not {sorted(expected)}"
            )
        if code == 0 and examine is not None:
            examine(folder)
        return "" if code == 0 else err.getvalue().strip()
    finally:
        os.chdir(before)
        shutil.rmtree(folder)


def _check(code: int, said: str, seconds: float) -> None:
    if code not in (0, 1, 2):
        raise BrokenPromiseError(f"exit code {code}: {said}")
    if seconds > SECONDS:
        raise BrokenPromiseError(f"took {seconds:.1f} s: {said}")
    if code == 1 and (said.count("\n") != 1 or not said.startswith("reprune-onnx: ")):
        raise BrokenPromiseError(f"not one line: {said}")


@contextlib.contextmanager
def _bounded():
    """Let a command take `MEMORY` beyond what this process has by now.

    Where not even a thread's stack fits, `Thread.start` waits for ever.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


PRUNED = frozenset({"out.onnx", "out.report.json"})
PREPARED = ("--preprocess", "scale=1/16")
_IMAGES = array(np.random.default_rng(0).random((6, 1, 8, 8)).astype(np.float32))
_DEVICE = b'description = "a device"\nprecisions = ["fp32"]\n[multiples]\nfp32 = 8\n'
TARGETS = {
    "model": Target(
        models(),
        mutate.model,
        "model.onnx",
        lambda name: ("prune", name, "-o", "out.onnx", *HALF, "--residual", "prune"),
        PRUNED,
    ),
    "selection": Target(
        (report(),),
        mutate.tree,
        "selection.json",
        lambda name: ("prune", "demo.onnx", "-o", "out.onnx", "--keep", name, "--recover", "none"),
        PRUNED,
    ),
    "report": Target(
        (report(),),
        mutate.tree,
        "report.json",
        lambda name: ("verify", "demo.onnx", "demo.onnx", "--report", name),
    ),
    "data": Target(
        (_IMAGES, array(np.zeros((2, 8, 8, 1), np.uint8))),
        mutate.raw,
        "data.npz",
        lambda name: ("evaluate", "demo.onnx", "--data", name, *PREPARED),
        packed=True,
    ),
    "target": Target(
        (_DEVICE,),
        mutate.raw,
        "device.toml",
        lambda name: ("prune", "demo.onnx", "-o", "out.onnx", *HALF, "--target", f"./{name}"),
        PRUNED,
    ),
}
