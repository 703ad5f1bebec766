"""Every option of `prune`, checked once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from reprune_onnx.activations.room import parse_size
from reprune_onnx.choices import (
    Allocation,
    Coverage,
    CoverageOption,
    Cutoff,
    InputChannels,
    Linkage,
    Measure,
    Method,
    Precision,
    Recover,
    Reduction,
    Residual,
    SelectOptions,
    TieBreak,
)
from reprune_onnx.data.generated.spec import is_generated
from reprune_onnx.data.reading import Reading
from reprune_onnx.errors import UsageError
from reprune_onnx.rounding import Rounding
from reprune_onnx.targets import read_target

_CHOICES: dict[str, Any] = {
    "method": Method,
    "coverage": CoverageOption,
    "linkage": Linkage,
    "cutoff": Cutoff,
    "tie_break": TieBreak,
    "allocation": Allocation,
    "residual": Residual,
    "input_channels": InputChannels,
    "recover": Recover,
}
_SHARES: dict[str, Measure] = {
    "macs_reduction": "macs",
    "params_reduction": "params",
    "latency_reduction": "latency",
}
_SHARE = ": it is a share, 0.5 for 50 %"
_MOST = 2**31
_MOST_JOBS = 2**15
_BLOCK = 8  # channels that ONNX Runtime computes together, and whose multiples are fast on a CPU
_TARGETS = ("sparsity", *_SHARES, "max_drop", "keep")


@dataclass(frozen=True)
class Settings:
    """What to prune, and how. Exactly one of the six targets is given.

    ``sparsity`` is the share of prunable channels that go, in [0, 1); ``macs_reduction``,
    ``params_reduction`` and ``latency_reduction`` the share of MACs, parameters or latency, in
    (0, 1); ``max_drop`` the points of accuracy, or of agreement with the original, that may be
    lost, in [0, 100); ``keep`` a report whose cuts are applied again. ``layer`` maps a glob over
    node names to a number of kept channels. The other fields are the command's options of the same
    name. Raises UsageError for a value out of range.
    """

    sparsity: float | None = None
    macs_reduction: float | None = None
    params_reduction: float | None = None
    latency_reduction: float | None = None
    max_drop: float | None = None
    keep: Path | None = None
    method: Method = "reprune"
    coverage: CoverageOption = "auto"
    linkage: Linkage = "ward"
    cutoff: Cutoff = "merge-count"
    tie_break: TieBreak = "random"
    seed: int = 0
    allocation: Allocation = "auto"
    residual: Residual = "keep"
    input_channels: InputChannels = "all"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    layer: tuple[tuple[str, int], ...] = ()
    min_channels: int = 1
    round_to: int | None = None
    target: str | None = None
    precision: Precision | None = None
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    calibration: str | None = None
    calibration_size: int = 512
    preprocess: str | None = None
    classes: Path | None = None
    skip_broken: bool = False
    recover: Recover = "auto"
    latency_table: Path | None = None
    verify: bool = True
    jobs: int = 1
    memory: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in _TARGETS if getattr(self, name) is not None]
        if len(given) != 1:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in _TARGETS)
            found = " and ".join(f"--{name.replace('_', '-')}" for name in given) or "none"
            raise UsageError(
                f"give exactly one of {options}; given: {found} (--macs-reduction 0.5 halves the"
                " multiply-adds)"
            )
        self._check_ranges()
        if self.target is not None:
            read_target(self.target).rounding_in(self.precision)
        elif self.precision is not None:
            raise UsageError("--precision is that of a --target: give one too")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in get_args(allowed):
                known = ", ".join(get_args(allowed))
                raise UsageError(
                    f"--{name.replace('_', '-')} '{getattr(self, name)}' is not one of {known}"
                )

    @property
    def worth(self) -> Coverage:
        """The coverage that ``auto`` stands for: with images ``norm``, which kept more accuracy."""
        if self.coverage == "auto":
            return "norm" if self.method == "reprune" and self.calibration else "count"
        return self.coverage

    @property
    def reading(self) -> Reading:
        """How the calibration images are read."""
        return Reading(self.preprocess, self.classes, self.skip_broken)

    @property
    def rounding(self) -> Rounding:
        """What the kept channels of a layer become a multiple of: ``round_to``, or the target's.

        With neither, it is ONNX Runtime's block where latency is measured here, else any number.
        """
        if self.round_to is not None:
            return Rounding(self.round_to)
        if self.target is not None:
            return read_target(self.target).rounding_in(self.precision)
        return Rounding(_BLOCK) if self.measures_latency else Rounding()

    @property
    def scoped(self) -> bool:
        """Whether ``include`` or ``exclude`` limit what may be pruned."""
        return bool(self.include or self.exclude)

    @property
    def measures_latency(self) -> bool:
        """Whether the target is a latency on this machine, not one that a table estimates."""
        return self.latency_reduction is not None and self.latency_table is None

    @property
    def select_options(self) -> SelectOptions:
        """The options of Algorithm 1."""
        return SelectOptions(self.linkage, self.cutoff, self.tie_break, self.worth)

    @property
    def reduction(self) -> Reduction | None:
        """The share that goes; None for ``max_drop``, which searches it, and for ``keep``."""
        if self.sparsity is not None:
            return Reduction("channels", self.sparsity)
        for name, measure in _SHARES.items():
            if getattr(self, name) is not None:
                return Reduction(measure, getattr(self, name))
        return None

    @property
    def requested(self) -> dict[str, float]:
        """The target, as the report names it; empty where a selection is applied again."""
        return {
            name: value
            for name in _TARGETS
            if name != "keep" and (value := getattr(self, name)) is not None
        }

    def as_report(self) -> dict[str, Any]:
        """All settings that decide about the result, in JSON's types; no paths, jobs or memory."""
        plain = asdict(self) | {"coverage": self.worth}
        del plain["jobs"], plain["memory"]
        for name in ("keep", "calibration", "latency_table", "classes"):
            plain[name] = plain[name] is not None
        plain["round_to"] = self.rounding.multiple
        plain["target"] = None if self.target is None else Path(self.target).stem
        return plain

    def _check_ranges(self) -> None:
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise UsageError(f"--sparsity {self.sparsity:g} is outside [0, 1){_SHARE}")
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} {value:g} is outside (0, 1){_SHARE}")
        if self.max_drop is not None and not 0 <= self.max_drop < 100:
            raise UsageError(f"--max-drop {self.max_drop} is outside [0, 100): it is in points")
        if self.latency_table is not None and self.latency_reduction is None:
            raise UsageError("--latency-table goes with --latency-reduction; give that too")
        for name in ("min_channels", "round_to", "calibration_size"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < _MOST:
                bounds = f"at least 1, and less than {_MOST:,}"
                raise UsageError(f"--{name.replace('_', '-')} must be {bounds}")
        for glob, n in self.layer:
            if n < 1:
                raise UsageError(f"--layer {glob}={n}: a layer keeps at least 1 channel")
        self._check_images()
        if self.memory is not None:
            parse_size(self.memory)
        if self.jobs == 0 or abs(self.jobs) > _MOST_JOBS:
            raise UsageError(
                f"--jobs is a number of processes, or -1 for all cores; not {self.jobs}"
            )
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} must not be negative")

    def _check_images(self) -> None:
        """What cannot be done without images."""
        needs = {
            "method": ("reconstruction",),
            "coverage": ("energy",),
            "allocation": ("sensitivity",),
            "recover": ("batch-norm", "least-squares"),
        }
        if self.max_drop is not None and self.calibration is None:
            raise UsageError(
                "--max-drop needs images to measure the drop on: give some hundreds with"
                " --calibration (with labels for accuracy, without for agreement)"
            )
        if self.max_drop is not None and is_generated(self.calibration or ""):
            raise UsageError(
                "--max-drop cannot be measured on generated images: nobody knows what is right on"
                " them, and a model agrees with its original there more or less than on its own"
                " images; give own images with --calibration, or ask for --macs-reduction"
            )
        for name, values in needs.items():
            if getattr(self, name) in values and self.calibration is None:
                raise UsageError(
                    f"--{name} {getattr(self, name)} needs images: give some hundreds, without"
                    " labels, with --calibration"
                )
