"""Every option of `prune`, declared and checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from reprune_onnx.activations.room import parse_size
from reprune_onnx.arguments import wrong_type
from reprune_onnx.choices import (
    Allocation,
    Coverage,
    CoverageOption,
    Criterion,
    Cutoff,
    InputChannels,
    Linkage,
    Measure,
    Method,
    NormStatistics,
    Precision,
    Recover,
    RecoveryMethod,
    Reduction,
    Residual,
    SelectOptions,
    TieBreak,
)
from reprune_onnx.errors import UsageError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.options import Option, Takes, check_fields
from reprune_onnx.report.fields import ReportLike
from reprune_onnx.rounding import Rounding
from reprune_onnx.taken import (
    DataLike,
    Globs,
    MethodLike,
    PathLike,
    RecoverLike,
    ShapesLike,
    WidthsLike,
    as_criterion,
    as_data,
    as_globs,
    as_path,
    as_recovery,
    as_report,
    as_shapes,
    as_widths,
    words_of_shapes,
    words_of_widths,
)

if TYPE_CHECKING:
    from reprune_onnx.data.reading import Reading

_SHARES: dict[str, Measure] = {
    "macs_reduction": "macs",
    "params_reduction": "params",
    "latency_reduction": "latency",
}
_SHARE = ": it is a share, 0.5 for 50 %"
_MOST = 2**31
_MOST_JOBS = 2**15
_BLOCK = 8  # channels that ONNX Runtime computes together, and whose multiples are fast on a CPU
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
_TARGETS = ("sparsity", *_SHARES, "max_drop", "keep")


@dataclass(frozen=True)
class Settings:
    """What to prune, and how. Exactly one of the first six fields, the targets, is given.

    Each field is an option of the command line, whose names its sentence uses: ``--round-to`` is
    the field ``round_to``. Raises UsageError for a value out of range, and ArgumentError, which is
    one and a TypeError, for a value of a wrong type.
    """

    sparsity: Annotated[
        float | None, Option("Share of the prunable channels that go, in [0, 1).", "S")
    ] = None
    macs_reduction: Annotated[
        float | None,
        Option("Share of multiply-adds that go, in (0, 1); with --include of those it names.", "R"),
    ] = None
    params_reduction: Annotated[
        float | None, Option("Share of parameters that go, in (0, 1).", "R")
    ] = None
    latency_reduction: Annotated[
        float | None,
        Option(
            "Share of the time of one run that goes, in (0, 1), measured on this machine, or"
            " read from --latency-table.",
            "R",
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        Option(
            "The smallest model that loses at most so many points of accuracy on --calibration"
            " images with labels; without labels, of agreement with MODEL.",
            "POINTS",
        ),
    ] = None
    keep: Annotated[
        Takes[ReportLike | None, Path | Mapping[str, Any] | None],
        Option("Apply the selection of an earlier report.", "FILE", words=Path | None),
    ] = Takes(as_report, None)
    method: Annotated[
        Takes[MethodLike, Method | Criterion],
        Option("Which channels stay; reconstruction needs --calibration.", words=Method),
    ] = Takes(as_criterion, "reprune")
    coverage: Annotated[
        CoverageOption,
        Option(
            "What a covered cluster is worth: 1 (the paper), its kernels' squared norms, or"
            " these times the energy of their input (needs --calibration); auto is norm with"
            " --calibration, else count."
        ),
    ] = "auto"
    allocation: Annotated[
        Allocation,
        Option(
            "How many channels each layer keeps: auto is sensitivity (least measured loss)"
            " with --calibration, else bn-gamma (Eq. 8-9)."
        ),
    ] = "auto"
    residual: Annotated[
        Residual,
        Option(
            "Channels that meet a residual Add: keep them; prune only inside the branches (inner);"
            " or prune coupled layers together."
        ),
    ] = "keep"
    norm_statistics: Annotated[
        NormStatistics,
        Option(
            "Channels over which a LayerNormalization, a mean, a norm or a maximum is taken: lock"
            " keeps them all; kept lets them go, and takes it over those that are left."
        ),
    ] = "lock"
    linkage: Annotated[Linkage, Option("Of the clustering.")] = "ward"
    cutoff: Annotated[
        Cutoff, Option("Stop clustering after ñ merges (Eq. 5), or at the height h_l.")
    ] = "merge-count"
    tie_break: Annotated[TieBreak, Option("Among filters that cover equally many clusters.")] = (
        "random"
    )
    seed: Annotated[int, Option("Of the random choices.")] = 0
    input_channels: Annotated[
        InputChannels,
        Option("Input channels that the clustering sees: all, or those that stay."),
    ] = "all"
    include: Annotated[
        Takes[Globs, tuple[str, ...]],
        Option("Prune only layers whose node name matches; repeatable.", "GLOB", words=list[str]),
    ] = Takes(as_globs, ())
    exclude: Annotated[
        Takes[Globs, tuple[str, ...]],
        Option("Leave layers alone whose node name matches; repeatable.", "GLOB", words=list[str]),
    ] = Takes(as_globs, ())
    layer: Annotated[
        Takes[WidthsLike, tuple[tuple[str, int], ...]],
        Option(
            "Kept channels of single layers; repeatable.",
            "GLOB=N",
            words=list[str],
            read=words_of_widths,
        ),
    ] = Takes(as_widths, ())
    min_channels: Annotated[int, Option("The least that any layer keeps.", "N")] = 1
    target: Annotated[
        str | None,
        Option("Device whose rounding of widths applies: cpu, cuda, jetson-tx2, ….", "NAME"),
    ] = None
    precision: Annotated[
        Precision | None,
        Option("What --target will compute in, where its rounding depends on that."),
    ] = None
    round_to: Annotated[
        int | None,
        Option(
            "Kept channels of a layer become a multiple of N; default: --target's, and 8 where"
            " --latency-reduction is measured.",
            "N",
        ),
    ] = None
    input_shapes: Annotated[
        Takes[ShapesLike, tuple[tuple[str, tuple[int, ...]], ...]],
        Option(
            "Size of an input whose size is symbolic; default: batch 1, image sides 224.",
            "NAME=1,3,224,224",
            ("--input-shape",),
            words=list[str],
            read=words_of_shapes,
        ),
    ] = Takes(as_shapes, ())
    calibration: Annotated[
        Takes[DataLike | None, str | InMemory | None],
        Option(
            "Images, labels not needed: FILE.npz, a folder or .tar, or package.module:function; or"
            " generated[:N], images made by formula where there are none.",
            "DATA",
            words=str | None,
        ),
    ] = Takes(as_data, None)
    calibration_size: Annotated[int, Option("How many of them are used.", "N")] = 512
    preprocess: Annotated[
        str | None,
        Option(
            "cifar10, imagenet, imagenet-bgr, none, or mean=…;std=…;scale=…;size=…;crop=…;"
            "color=…;layout=….",
            "NAME|SPEC",
        ),
    ] = None
    classes: Annotated[
        Takes[PathLike | None, Path | None],
        Option(
            "Names of the classes in the order of the model's outputs, where sub-folders are the"
            " labels: a name per line, or JSON or YAML. Default: the model's metadata, else sorted"
            " order, of numbers by value.",
            "FILE",
            words=Path | None,
        ),
    ] = Takes(as_path, None)
    skip_broken: Annotated[bool, Option("Leave out images that cannot be decoded; count them.")] = (
        False
    )
    recover: Annotated[
        Takes[RecoverLike, Recover | RecoveryMethod],
        Option(
            "Repair of accuracy after the cut; auto is least-squares with --calibration, else"
            " data-free.",
            words=Recover,
        ),
    ] = Takes(as_recovery, "auto")
    latency_table: Annotated[
        Takes[PathLike | None, Path | None],
        Option(
            "Layer times of another device, for --latency-reduction.", "FILE", words=Path | None
        ),
    ] = Takes(as_path, None)
    verify: Annotated[
        bool,
        Option(
            "Whether the cut is proven; --no-verify writes the model without that.",
            names=("--no-verify",),
            words=bool,
            read=not_,
        ),
    ] = True
    jobs: Annotated[int, Option("Processes; -1 for all cores.", "N", ("--jobs", "-j"))] = 1
    memory: Annotated[
        str | None,
        Option(
            "Memory for the activations of calibration images, such as 512M or 2G; the rest goes"
            " to a temporary file. Default: half of what is free.",
            "SIZE",
        ),
    ] = None

    @classmethod
    def paper(cls, **changes: Any) -> Settings:
        """Return settings as in the paper, as ``--preset paper`` has them; ``changes`` win.

        >>> Settings.paper(sparsity=0.5).allocation
        'bn-gamma'
        """
        return cls(**PRESETS["paper"] | changes)

    def __post_init__(self) -> None:
        check_fields(self)
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
            _of_target(self.target, self.precision)
        elif self.precision is not None:
            raise UsageError("--precision is that of a --target: give one too")

    @property
    def worth(self) -> Coverage:
        """The coverage that ``auto`` stands for: with images ``norm``, which kept more accuracy."""
        if self.coverage == "auto":
            return "norm" if self.method == "reprune" and self.calibration else "count"
        return self.coverage

    @property
    def reading(self) -> Reading:
        """How the calibration images are read."""
        from reprune_onnx.data.reading import Reading

        return Reading(self.preprocess, self.classes, self.skip_broken)

    @property
    def rounding(self) -> Rounding:
        """What the kept channels of a layer become a multiple of: ``round_to``, or the target's.

        With neither, it is ONNX Runtime's block where latency is measured here, else any number.
        """
        if self.round_to is not None:
            return Rounding(self.round_to)
        if self.target is not None:
            return _of_target(self.target, self.precision)
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

    def as_dict(self) -> dict[str, Any]:
        """Every field by its name; what it holds is not copied."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def as_report(self) -> dict[str, Any]:
        """All settings that decide about the result, in JSON's types; no paths, jobs or memory."""
        plain = self.as_dict() | {"coverage": self.worth}
        plain |= {"method": str(self.method), "recover": str(self.recover)}
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
        from reprune_onnx.data.generated.spec import is_generated

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
        if self.max_drop is not None and is_generated(self.calibration):
            raise UsageError(
                "--max-drop cannot be measured on generated images: nobody knows what is right on"
                " them, and a model agrees with its original there more or less than on its own"
                " images; give own images with --calibration, or ask for --macs-reduction"
            )
        for name, values in needs.items():
            value = getattr(self, name)
            if self.calibration is None and (value in values or _looks(value)):
                raise UsageError(
                    f"--{name} {value} needs images: give some hundreds, without"
                    " labels, with --calibration"
                )


def _looks(row: object) -> bool:
    """Whether a criterion or a recovery method of the user's needs images."""
    if isinstance(row, Criterion):
        return row.needs == "losses"
    return isinstance(row, RecoveryMethod) and row.needs_images


def check_settings(settings: object) -> None:
    """Raise ArgumentError for what are no `Settings`."""
    if not isinstance(settings, Settings):
        raise wrong_type("settings", settings, "Settings, such as Settings(sparsity=0.5)")


def _of_target(target: str, precision: Precision | None) -> Rounding:
    from reprune_onnx.targets import read_target  # which reads TOML files and imports onnx

    return read_target(target).rounding_in(precision)
