"""The choices of each option of a pruning, and options that belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from reprune_onnx.types import Choice, Ints

Method = Literal[
    "auto",
    "reprune",
    "representative",
    "l1",
    "l2",
    "fpgm",
    "bn-gamma",
    "random",
    "reconstruction",
]
Coverage = Literal["count", "norm", "energy"]
CoverageOption = Literal["auto", "count", "norm", "energy"]
Linkage = Literal["ward", "single", "complete", "average"]
Cutoff = Literal["merge-count", "height"]
TieBreak = Literal["random", "max-l2", "min-l2"]
Allocation = Literal["auto", "bn-gamma", "uniform", "sensitivity"]
Residual = Literal["keep", "inner", "prune"]
NormStatistics = Literal["auto", "kept", "lock"]
Basis = Literal["auto", "file"]
StatisticsKept = Literal["all", "but sums", "none"]
InputChannels = Literal["all", "kept"]
Recover = Literal["auto", "none", "data-free", "batch-norm", "least-squares", "distill"]
Task = Literal["classification", "detection", "semantic-segmentation", "regression", "multi-label"]
Precision = Literal["fp32", "fp16", "int8"]
Then = Literal["int8"]
Measure = Literal["channels", "macs", "params", "latency"]

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "method": "reprune",
        "coverage": "count",
        "cutoff": "merge-count",
        "tie_break": "random",
        "allocation": "bn-gamma",
        "residual": "inner",
        "recover": "none",
    }
}
"""Fields that a preset sets; others given beside it win."""


@dataclass(frozen=True)
class SelectOptions:
    """The options of Algorithm 1."""

    linkage: Linkage = "ward"
    cutoff: Cutoff = "merge-count"
    tie_break: TieBreak = "random"
    coverage: Coverage = "count"


@dataclass(frozen=True)
class Reduction:
    """The ``share`` to remove, in [0, 1), of all prunable channels, or of another measure."""

    measure: Measure
    share: float


@dataclass(frozen=True)
class Criterion:
    """A way to choose channels: a row of the table in `pruner.select`, or one of your own.

    ``select(problem, options, rng)`` keeps ``problem.n_keep`` channels of a `Problem`, its
    ``fixed`` ones among them: it returns a `Choice`, or their positions (k,). It needs the
    "weights" of some layer, or the "losses" that images tell (``problem.order``), or "either".
    """

    select: Callable[..., Choice | Ints]
    needs: Literal["weights", "losses", "either"] = "weights"

    def __str__(self) -> str:
        return _named(self.select)


@dataclass(frozen=True)
class RecoveryMethod:
    """A way to recover accuracy: a row of the table in `recovery`, or one of your own.

    ``values(work)`` returns new values, by the names of tensors, for layers of ``work.pruned``; see
    `recovery.work.Work`. With ``distills`` all values are trained on after that, by gradient.
    """

    values: Callable[[Any], Mapping[str, Any]]
    needs_images: bool = False
    distills: bool = False

    def __str__(self) -> str:
        return _named(self.values)


def _named(function: Callable[..., Any]) -> str:
    """The name of a user's function in a report."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}"
