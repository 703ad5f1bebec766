"""The commands to interrupt, and the results that they have without a fault."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run import Ended, Fault, start, wait

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models" / "digits_resnet.onnx"
DIGITS = ROOT / "models" / "digits.npz"
EARLIER = b"what an earlier run wrote"
PAIR = ("out.onnx", "out.report.json")
HOW = ("--sparsity", "0.5", "--recover", "none", "-q")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "prune": (
        *("prune", "model.onnx", "-o", "out.onnx", "--sparsity", "0.5", "-q"),
        *("--recover", "data-free"),
    ),
    "recover": ("recover", "model.onnx", "small.onnx", "-o", "out.onnx", "-q"),
    "sweep": (
        *("sweep", "model.onnx", "-o", "out", "--macs-reduction", "0.3,0.5"),
        *("--method", "l1,random", "--recover", "none", "-q"),
    ),
    "finetune": (
        *("finetune", "small.onnx", "-o", "out.onnx", "--data", str(DIGITS), "-q"),
        *("--preprocess", "scale=1/16", "--epochs", "2", "--accelerator", "cpu"),
    ),
}
SEED = ("--seed", "1")
"""The arguments added for another run, which writes to the same OUT."""


@dataclass(frozen=True)
class Scenario:
    """A command, the folder with what it reads, and what it writes when nothing happens.

    ``seconds`` are those of such a run.
    """

    name: str
    template: Path
    expected: dict[str, bytes]
    seconds: float

    def copy(self, folder: Path, earlier: bool) -> None:
        """Make a folder to run in, with an OUT of an earlier run or without."""
        shutil.copytree(self.template, folder)
        if earlier and self.name != "sweep":
            for name in PAIR:
                (folder / name).write_bytes(EARLIER)

    def argv(self, earlier: bool) -> list[str]:
        """Return the command line."""
        force = earlier and self.name != "sweep"
        return [*ARGUMENTS[self.name], *(("--force",) if force else ())]


def prepared(name: str, folder: Path) -> Scenario:
    """Run the command once without a fault."""
    template = folder / f"{name}.template"
    template.mkdir()
    shutil.copy(DEMO, template / "model.onnx")
    if name in ("recover", "finetune"):
        argv = ["prune", "model.onnx", "-o", "small.onnx", *HOW]
        _succeeds(run(template, argv, Fault("none")), name)
    complete = folder / f"{name}.whole"
    shutil.copytree(template, complete)
    begin = time.monotonic()
    _succeeds(run(complete, list(ARGUMENTS[name]), Fault("none")), name)
    seconds = time.monotonic() - begin
    return Scenario(name, template, results(complete, name), seconds)


def run(folder: Path, argv: list[str], fault: Fault) -> Ended:
    """Run the command to its end."""
    return wait(start(folder, argv, fault), fault)


def results(folder: Path, name: str) -> dict[str, bytes]:
    """The files that the command writes, by name; without times and the folder's own name."""
    if name == "sweep":
        files = sorted((folder / "out").rglob("*")) if (folder / "out").exists() else []
        return {
            str(p.relative_to(folder)): _timeless(p).replace(str(folder).encode(), b"")
            for p in files
            if p.is_file() and not p.name.startswith(".") and p.suffix in (".onnx", ".json", ".md")
        }
    return {p: _timeless(folder / p) for p in PAIR if (folder / p).exists()}


def _timeless(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".json" or data == EARLIER:
        return data
    return json.dumps(_without_seconds(json.loads(data)), sort_keys=True).encode()


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seconds(v) for k, v in value.items() if k != "seconds"}
    if isinstance(value, list):
        return [_without_seconds(v) for v in value]
    return value


def _succeeds(ended: Ended, name: str) -> None:
    if ended.code:
        raise RuntimeError(f"{name} fails where nothing happens to it: {ended.said}")
