"""What the options of a pruning may be, and those that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal[
    "reprune", "representative", "l1", "l2", "fpgm", "bn-gamma", "random", "reconstruction"
]
Coverage = Literal["count", "norm", "energy"]
CoverageOption = Literal["auto", "count", "norm", "energy"]
Linkage = Literal["ward", "single", "complete", "average"]
Cutoff = Literal["merge-count", "height"]
TieBreak = Literal["random", "max-l2", "min-l2"]
Allocation = Literal["auto", "bn-gamma", "uniform", "sensitivity"]
Residual = Literal["keep", "inner", "prune"]
InputChannels = Literal["all", "kept"]
Recover = Literal["auto", "none", "data-free", "batch-norm", "least-squares"]
Precision = Literal["fp32", "fp16", "int8"]
Measure = Literal["channels", "macs", "params", "latency"]


@dataclass(frozen=True)
class SelectOptions:
    """The options of Algorithm 1."""

    linkage: Linkage = "ward"
    cutoff: Cutoff = "merge-count"
    tie_break: TieBreak = "random"
    coverage: Coverage = "count"


@dataclass(frozen=True)
class Reduction:
    """How much goes: ``share``, in [0, 1), of all prunable channels, or of another measure."""

    measure: Measure
    share: float
