"""The fields of reports, so that type checkers know them; `docs/report.md` says what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Protocol, TypeAlias, TypedDict

from reprune_onnx.tool import ToolEntry


class SourceEntry(TypedDict):
    """The model that was pruned."""

    path: str
    sha256: str


class CostEntry(TypedDict):
    """The cost of a model."""

    params: int
    macs: int
    bytes: int
    channels: int


class AchievedEntry(TypedDict, total=False):
    """The reductions that were reached, in shares; ``max_drop`` in points."""

    sparsity: float
    macs_reduction: float
    params_reduction: float
    latency_reduction: float
    max_drop: float


class MissedEntry(TypedDict):
    """Why the target was missed by more than a point."""

    why: str
    less: float | None
    more: float | None
    next_step: str


class LayerEntry(TypedDict):
    """A layer and how many of its channels are left."""

    node: str
    weight: str
    op: str
    group: int
    out_channels: list[int]
    sparsity: float
    coverage: float | None
    bn: str | None
    gamma_source: str | None
    stays: str | None
    stays_macs: int | None


class _CutOfAny(TypedDict):
    initializer: str
    axis: int
    keep: list[int]


class CutEntry(_CutOfAny, total=False):
    """A tensor that lost rows; a copy names its ``source``."""

    source: str


class RewrittenEntry(TypedDict, total=False):
    """A number that followed (`results.Rewrite`), of a ``node`` or a ``tensor``."""

    node: str
    tensor: str
    before: list[int] | int | None
    after: Sequence[float | None] | int


class LockedEntry(TypedDict):
    """Why channels stay."""

    node: str
    channels: int
    reason: str


class TurnedEntry(TypedDict):
    """A residual stream in another basis, whose ``axes`` are [before, after]."""

    group: int
    axes: list[int]
    written_by: list[str]
    read_by: list[str]


class RemovedEntry(TypedDict):
    """A branch that went as a whole: its layers, and what stands in its place."""

    group: int
    layers: list[str]
    constants: list[str]


class VerificationEntry(TypedDict):
    """The proof of a cut."""

    passed: bool
    max_abs_diff: float
    scale: float
    negative_control: float
    tolerance: float
    runs: int
    inputs: list[str]
    inner: bool
    sizes: str | None
    branches: list[str]


class CalibrationEntry(TypedDict):
    """The images: how many, and what is known of them where a formula made them."""

    images: int
    generated: dict[str, Any] | None


class InsteadEntry(TypedDict):
    """The way taken where no images were given, and the errors of the outputs that decided it."""

    taken: str
    why: str
    error: dict[str, float] | None
    held_out: int
    seconds: float


class DistillationEntry(TypedDict):
    """The training that followed a fit, judged on ``held_out`` images."""

    epochs: int
    kept_epoch: int
    kept_share: float
    held_out: int
    loss_before: float
    loss_after: float


class RecoveryEntry(TypedDict):
    """The recovery of accuracy."""

    method: str
    samples: int
    seconds: float
    layers: int
    error_before: float | None
    error_after: float | None
    bytes_written: int
    distillation: DistillationEntry | None


class Int8RowEntry(TypedDict):
    """One of four models: its points, the error of its outputs, its size, and the time of a run."""

    model: str
    score: float | None
    error: float | None
    bytes: int
    ms: float


class Int8LayerEntry(TypedDict):
    """The loss of a layer in int8, and whether the layer stays in float."""

    node: str
    loss: float
    in_float: bool


class Int8Entry(TypedDict):
    """The pruned model in int8."""

    measure: str | None
    images: int
    held_out: int
    rows: list[Int8RowEntry]
    layers: list[Int8LayerEntry]
    error: float | None
    errors: dict[str, float]


class ScopeEntry(TypedDict):
    """The layers that ``--include`` names."""

    layers: int
    macs: list[int]


class _PlainReport(TypedDict):
    schema: int
    tool: ToolEntry
    source: SourceEntry
    settings: dict[str, Any]
    before: CostEntry
    after: CostEntry
    requested: dict[str, float]
    achieved: AchievedEntry
    missed: MissedEntry | None
    scope: ScopeEntry | None
    layers: list[LayerEntry]
    cuts: list[CutEntry]
    rewritten: list[RewrittenEntry]
    locked: list[LockedEntry]
    turned: list[TurnedEntry]
    removed: list[RemovedEntry]
    verification: VerificationEntry | None
    calibration: CalibrationEntry | None
    without_images: InsteadEntry | None
    recovery: RecoveryEntry | None
    rounding: dict[str, Any] | None
    latency: dict[str, Any] | None
    drop: dict[str, Any] | None
    search: dict[str, Any] | None
    int8: Int8Entry | None
    notes: list[str]
    seconds: dict[str, float]


class Report(_PlainReport, total=False):
    """The report of a pruning, as it stands in ``OUT.report.json``: a plain dict.

    ``training`` is there where training was part of the pruning.
    """

    training: dict[str, Any]


class HasReport(Protocol):
    """The result of a pruning, which has a report."""

    @property
    def report(self) -> Report:
        """The report of it."""


ReportLike: TypeAlias = str | PathLike[str] | Mapping[str, Any] | Report | HasReport
"""The types that every function accepts as a report: a path, a dict, or a `Pruned`."""
