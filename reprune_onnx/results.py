"""What pruning makes of a model: the cut, and what its proof has shown."""

from __future__ import annotations

from dataclasses import dataclass

from reprune_onnx.types import Ints, Model


@dataclass(frozen=True)
class TensorCut:
    """Rows ``keep`` along ``axis`` are left of ``initializer``; a copy names its ``source``."""

    initializer: str
    axis: int
    keep: Ints
    source: str | None = None


@dataclass(frozen=True)
class Rewrite:
    """An integer that followed a number of channels: an attribute of a node, or a tensor."""

    where: str
    is_node: bool
    before: list[int] | int | None
    after: list[int] | int


@dataclass(frozen=True)
class Cut:
    """The pruned model and everything that differs from the original."""

    model: Model
    cuts: tuple[TensorCut, ...]
    rewrites: tuple[Rewrite, ...]


@dataclass(frozen=True)
class Verification:
    """``max_abs_diff`` and ``negative_control`` are largest absolute differences of the outputs.

    Both are those of the output and input where the difference relative to ``scale``, the largest
    magnitude of that output, is worst (for the control: best). ``rounding`` is, where they differ
    by too much, what the pruned model makes of the last digit of its inputs, in the same units.
    ``inputs`` are the kinds of inputs that prove it, or that were tried in vain. ``inner`` says
    that a wrong cut shows in the tensors behind the cuts only, not in the outputs. ``sizes`` are
    the inputs' in the copies that were compared, where those of the file are too large.
    ``branches`` are those of an If that lose channels: each was run, in a copy that takes it.
    """

    passed: bool
    max_abs_diff: float
    scale: float
    negative_control: float
    tolerance: float
    runs: int
    rounding: float = 0.0
    inputs: tuple[str, ...] = ()
    inner: bool = False
    sizes: str = ""
    branches: tuple[str, ...] = ()
