"""A file that takes part: what it is, and the sizes of its inputs at a batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx.benchmark.backends import Arrays, Runner
from reprune_onnx.benchmark.settings import DEFAULT_BATCHES
from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.memory import memory
from reprune_onnx.model import load, save
from reprune_onnx.note import Note
from reprune_onnx.runtime.random_inputs import random_inputs
from reprune_onnx.runtime.tail import find_tail
from reprune_onnx.shapes import stated_shapes
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.types import Model, Shape

Sizes = Mapping[str, tuple[int, ...]]

_ENGINES = (".engine", ".plan", ".trt")


@dataclass(frozen=True)
class Candidate:
    """A model to measure: what is run is the file ``runs``. ``model`` is None for an engine.

    ``note`` is said of a file that ends in ops which ONNX Runtime lacks: it is run up to them.

    ``stated`` are the shapes of the inputs, None where an extent is free; ``sizes`` the same with
    numbers for all extents.
    """

    name: str
    path: Path
    model: Model | None
    stated: Mapping[str, Shape]
    sizes: Sizes
    runs: Path
    note: Note | None = None

    @property
    def batch(self) -> int | None:
        """The static batch; None where it is free."""
        firsts = [shape[0] for shape in self.stated.values() if shape]
        return None if None in firsts or not firsts else firsts[0]

    def at(self, batch: int) -> dict[str, tuple[int, ...]]:
        """The sizes of the inputs with ``batch`` wherever a first extent is free."""
        return {
            name: (batch, *size[1:]) if self.stated[name][:1] == (None,) else size
            for name, size in self.sizes.items()
        }

    def feeds(self, runner: Runner, batch: int) -> Arrays:
        """Random inputs; ModelError where they alone are larger than the memory that is free."""
        sizes = self.at(batch)
        free = memory("MemAvailable")
        ports = {p.name: p for p in runner.inputs}
        needed = sum(
            prod(size) * max(8, np.dtype(ports[name].dtype).itemsize)  # they are drawn in float64
            for name, size in sizes.items()
            if name in ports
        )
        if free is not None and needed > free:
            raise ModelError(
                f"out of memory: {needed / 1e9:.1f} GB for the inputs of '{self.name}' at batch"
                f" size {batch}, and {free / 1e9:.1f} GB are free; take a smaller --batch-size"
            )
        return random_inputs(runner.inputs, sizes, np.random.default_rng(0))


def read_onnx(path: Path, overrides: Sizes, folder: Path) -> Candidate:
    """Read an ONNX file; what of it can be run goes into ``folder``, where that is not all.

    ModelError where it is none, with the next step for an engine.
    """
    if path.suffix in _ENGINES and path.is_file():
        raise ModelError(
            f"'{path}' is a TensorRT engine: measure it with --backend tensorrt, or give the ONNX"
            " file that it was built from"
        )
    model = load(path)
    tail, runs, head = find_tail(model), path, model
    if tail is not None:
        runs, head = folder / f"{len(list(folder.iterdir()))}.onnx", tail.head
        save(head, runs)
    given = {name: size for name, size in overrides.items() if name in _inputs(head)}
    stated = {k: v for k, v in stated_shapes(head.proto, {}).items() if v is not None}
    sizes = fitting_shapes(head.proto, given).shapes
    shapes = {k: stated.get(k, v) for k, v in sizes.items()}
    note = None if tail is None else Note(f"'{path}': {tail.note}")
    return Candidate(str(path), path, model, shapes, sizes, runs, note)


def read_engine(path: Path, runner: Runner, overrides: Sizes) -> Candidate:
    """Describe an engine that was loaded."""
    stated = {port.name: port.shape for port in runner.inputs}
    sizes: dict[str, tuple[int, ...]] = {}
    for name, shape in stated.items():
        size: Sequence[Any] = overrides.get(name, (shape[0] or 1, *shape[1:]) if shape else ())
        if None in size:
            raise UsageError(
                f"input '{name}' of '{path}' has free sides: give them, as in --input-shape"
                f" {name}=1,3,224,224"
            )
        sizes[name] = tuple(size)
    return Candidate(str(path), path, None, stated, sizes, path)


def check_overrides(candidates: Sequence[Candidate], overrides: Sizes) -> None:
    """UsageError for an ``--input-shape`` whose input no model has."""
    inputs = {name for candidate in candidates for name in candidate.stated}
    for name in overrides:
        if name not in inputs:
            raise UsageError(
                f"--input-shape: no model has an input '{name}'; there are "
                f"{', '.join(sorted(inputs))}"
            )


def batch_sizes(candidates: Sequence[Candidate], asked: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes to measure at; ModelError where a static batch is another one."""
    static = {c.batch for c in candidates if c.batch is not None}
    if not asked:
        asked = sorted(static) if static else DEFAULT_BATCHES
    for size in asked:
        for candidate in candidates:
            if candidate.batch not in (None, size):
                raise ModelError(
                    f"'{candidate.name}' has a static batch of {candidate.batch}, so it cannot be"
                    f" measured at batch size {size}: take --batch-size {candidate.batch}, or"
                    " export it with a free batch (dynamic_axes or dynamic_shapes of"
                    " torch.onnx.export)"
                )
    return tuple(dict.fromkeys(asked))


def _inputs(model: Model) -> set[str]:
    return {value.name for value in model.proto.graph.input}
