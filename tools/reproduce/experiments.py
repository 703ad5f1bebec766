"""The paper's tables that training reproduces: which runs a table has, and what was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["baseline", "finetuned", "concurrent"]


@dataclass(frozen=True)
class Run:
    """One way to train. ``published``: {"flops_cut", "top1", "base"} in percent.

    * ``baseline``: the unpruned network from random weights;
    * ``finetuned``: that, pruned once to ``sparsity`` and fine-tuned as long again;
    * ``concurrent``: Algorithm 2 from random weights, which prunes up to the share ``prune_share``
      of the epochs.

    ``pruning`` are further options of `reprune_onnx.Settings`.
    """

    name: str
    kind: Kind
    sparsity: float = 0.0
    prune_share: float = 0.6
    pruning: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A table of the paper. ``network`` is what the paper trained, for ``epochs`` epochs."""

    title: str
    network: str
    epochs: int
    runs: tuple[Run, ...]


def _published(flops_cut: float | None, top1: float, base: float | None) -> dict[str, float]:
    values = {"flops_cut": flops_cut, "top1": top1, "base": base}
    return {k: v for k, v in values.items() if v is not None}


def _linkage(name: str, flops_cut: float, top1: float) -> Run:
    published = _published(flops_cut, top1, 93.39)
    # Ward is the default, so its run is that of Table 10 too.
    pruning = {} if name == "ward" else {"linkage": name}
    title = "concurrent-0.55" if name == "ward" else f"concurrent-0.55-{name}"
    return Run(title, "concurrent", 0.55, pruning=pruning, published=published)


BASELINE = Run("baseline", "baseline", published={"top1": 93.39})
WARD = _linkage("ward", 60.38, 93.40)
FINETUNED = Run("finetuned-0.55", "finetuned", 0.55, published=_published(56.96, 93.02, 93.39))
# A.6 of the paper: only channels strictly inside a residual branch.
PAPER = {"residual": "inner", "tie_break": "random", "cutoff": "merge-count"}

EXPERIMENTS: dict[str, Experiment] = {
    "table2": Experiment(
        "Table 2: other channel pruning methods", "ResNet-56, CIFAR-10", 160, (BASELINE, WARD)
    ),
    "table3": Experiment(
        "Table 3: a kernel pruning method (s̄ is not published: 0.42 is this project's guess)",
        "ResNet-56, CIFAR-10",
        160,
        (
            BASELINE,
            Run("concurrent-0.42", "concurrent", 0.42, published=_published(47.57, 94.00, 93.39)),
        ),
    ),
    "table5": Experiment(
        "Table 5: linkage methods",
        "ResNet-56, CIFAR-10",
        160,
        (
            BASELINE,
            _linkage("single", 60.70, 92.74),
            _linkage("complete", 64.04, 92.67),
            _linkage("average", 63.96, 92.87),
            WARD,
        ),
    ),
    "table8": Experiment(
        "Table 8: a network of depthwise convolutions (s̄ is not published: guesses)",
        "MobileNetV2, CIFAR-10",
        160,
        (
            Run("baseline", "baseline", published={"top1": 94.94}),
            Run("concurrent-0.4", "concurrent", 0.4, published=_published(43.24, 95.14, 94.94)),
            Run("concurrent-0.55", "concurrent", 0.55, published=_published(56.08, 94.74, 94.94)),
        ),
    ),
    "table9": Experiment(
        "Table 9: the last epoch that prunes, as a share of all",
        "ResNet-18, ImageNet",
        250,
        tuple(
            Run(f"concurrent-until-{share:g}", "concurrent", 0.55, share, published={"top1": top1})
            for share, top1 in ((0.3, 68.64), (0.5, 68.93), (0.72, 69.20), (1.0, 68.72))
        ),
    ),
    "table10": Experiment(
        "Table 10: while training, or afterwards",
        "ResNet-56, CIFAR-10",
        160,
        (BASELINE, FINETUNED, WARD),
    ),
    "table11": Experiment(
        "Table 11: ties (random: run it with --seeds 0 1 2)",
        "ResNet-18, ImageNet",
        250,
        tuple(
            Run(f"concurrent-0.6-{tie}", "concurrent", 0.6, 0.72, {"tie_break": tie}, {"top1": t})
            for tie, t in (("random", 69.48), ("max-l2", 69.46), ("min-l2", 69.57))
        ),
    ),
    "older": Experiment(
        "The method of 2020: shift of filters and speed of recovery in fine-tuning (published: more"
        " than 49 % fewer FLOPs at +0.53 %)",
        "ResNet-110, CIFAR-10",
        160,
        (
            Run("baseline", "baseline"),
            *(
                Run(f"finetuned-0.5-{method}", "finetuned", 0.5, pruning={"method": method})
                for method in ("representative", "reprune", "l1", "l2", "fpgm")
            ),
        ),
    ),
    "all": Experiment(
        "Tables 2, 5 and 10 together", "ResNet-56, CIFAR-10", 160, ()
    ),
}  # fmt: skip


def runs_of(name: str) -> tuple[Run, ...]:
    """The runs of a table; of "all", those of Tables 2, 5 and 10, each once."""
    if name != "all":
        return EXPERIMENTS[name].runs
    by_name = {r.name: r for t in ("table10", "table5", "table2") for r in EXPERIMENTS[t].runs}
    return tuple(by_name.values())
