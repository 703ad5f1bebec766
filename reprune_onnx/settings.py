"""Every option of `prune`, declared and checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from reprune_onnx.arguments import wrong_type
from reprune_onnx.choices import (
    Allocation,
    Coverage,
    CoverageOption,
    Criterion,
    Cutoff,
    InputChannels,
    Linkage,
    Method,
    NormStatistics,
    Precision,
    Recover,
    RecoveryMethod,
    Reduction,
    Residual,
    SelectOptions,
    Task,
    TieBreak,
)
from reprune_onnx.errors import UsageError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.options import Option, Takes, check_fields
from reprune_onnx.ranges import SHARES, check_images, check_ranges
from reprune_onnx.report.fields import ReportLike
from reprune_onnx.rounding import Rounding
from reprune_onnx.taken import (
    INPUT_SHAPE,
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
    words_of_widths,
)

if TYPE_CHECKING:
    from reprune_onnx.data.reading import Reading

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
DECODE = Option(
    "Family of a detector's raw outputs, where their shapes do not tell: yolov8, yolov5, yolox,"
    " end-to-end, rt-detr, detr, rt-detr-logits, ultraface, nanodet, scrfd, yunet.",
    "NAME",
)
_TARGETS = ("sparsity", *SHARES, "max_drop", "keep")


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
            "Find the smallest model that loses at most so many points of accuracy on --calibration"
            " images with labels; without labels, and for another --task, of agreement with MODEL.",
            "POINTS",
        ),
    ] = None
    task: Annotated[
        Task,
        Option(
            "What --max-drop and sweep measure of agreement: the top class; the AP of boxes with"
            " MODEL's own as truth; mean IoU; 100 less the relative distance in per cent; labels."
        ),
    ] = "classification"
    decode: Annotated[str | None, DECODE] = None
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
            "Weight of a covered cluster: count is 1, as in the paper; norm its kernels'"
            " squared norms; energy these times the energy of their input (needs --calibration)."
            " auto is norm with --calibration, else count."
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
            " keeps them all; kept lets them go, and takes it over those that are left; auto is"
            " kept with --residual prune, but for sums, and else lock."
        ),
    ] = "auto"
    linkage: Annotated[
        Linkage, Option("How the clustering measures the distance between clusters.")
    ] = "ward"
    cutoff: Annotated[
        Cutoff, Option("Stop clustering after ñ merges (Eq. 5), or at the height h_l.")
    ] = "merge-count"
    tie_break: Annotated[
        TieBreak, Option("The filter to keep of those that cover equally many clusters.")
    ] = "random"
    seed: Annotated[int, Option("Seed of all random choices.")] = 0
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
            "Number of channels that layers of this name keep; repeatable.",
            "GLOB=N",
            words=list[str],
            read=words_of_widths,
        ),
    ] = Takes(as_widths, ())
    min_channels: Annotated[int, Option("Least number of channels that any layer keeps.", "N")] = 1
    target: Annotated[
        str | None,
        Option("Device whose rounding of widths applies: cpu, cuda, jetson-tx2, ….", "NAME"),
    ] = None
    precision: Annotated[
        Precision | None,
        Option("Precision that --target will compute in, where its rounding depends on it."),
    ] = None
    round_to: Annotated[
        int | None,
        Option(
            "Make the kept channels of each layer a multiple of N; default: 1, or what the target"
            " device needs, or 8 where latency is measured.",
            "N",
        ),
    ] = None
    input_shapes: Annotated[
        Takes[ShapesLike, tuple[tuple[str, tuple[int, ...]], ...]], INPUT_SHAPE
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
    calibration_size: Annotated[int, Option("Number of --calibration images to use.", "N")] = 512
    preprocess: Annotated[
        str | None,
        Option(
            "How images become the model's input: imagenet, imagenet-bgr, cifar10; of detectors"
            " ultralytics, yolox, rt-detr, nanodet, scrfd, ultraface; none; or"
            " mean=…;std=…;scale=…;size=…;crop=…;color=…;layout=…;fit=…;fill=….",
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
            "Repair of accuracy after the cut; auto is least-squares with --calibration, else the"
            " better of data-free and of least-squares on generated images.",
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
            "Prove the cut before the model is written; --no-verify skips the proof.",
            names=("--no-verify",),
            words=bool,
            read=not_,
        ),
    ] = True
    jobs: Annotated[
        int, Option("Number of processes; -1 for all cores.", "N", ("--jobs", "-j"))
    ] = 1
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
            named = " and ".join(f"--{name.replace('_', '-')}" for name in given) or "none"
            raise UsageError(
                f"give exactly one of {options}; given: {named} (--macs-reduction 0.5 halves the"
                " multiply-adds)"
            )
        check_ranges(self)
        check_images(self)
        if self.target is not None:
            _of_target(self.target, self.precision)
        elif self.precision is not None:
            raise UsageError("--precision is that of a --target: give one too")

    @property
    def resolved_coverage(self) -> Coverage:
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
    def generates(self) -> bool:
        """Whether images may be generated, as none are given and recovery is left to the tool."""
        return self.calibration is None and self.recover == "auto"

    @property
    def select_options(self) -> SelectOptions:
        """The options of Algorithm 1."""
        return SelectOptions(self.linkage, self.cutoff, self.tie_break, self.resolved_coverage)

    @property
    def reduction(self) -> Reduction | None:
        """The share that goes; None for ``max_drop``, which searches it, and for ``keep``."""
        if self.sparsity is not None:
            return Reduction("channels", self.sparsity)
        for name, measure in SHARES.items():
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
        values = self.as_dict() | {"coverage": self.resolved_coverage}
        values |= {"method": str(self.method), "recover": str(self.recover)}
        del values["jobs"], values["memory"]
        for name in ("keep", "calibration", "latency_table", "classes"):
            values[name] = values[name] is not None
        values["round_to"] = self.rounding.multiple
        values["target"] = None if self.target is None else Path(self.target).stem
        return values


def check_settings(settings: object) -> None:
    """Raise ArgumentError for what are no `Settings`."""
    if not isinstance(settings, Settings):
        raise wrong_type("settings", settings, "Settings, such as Settings(sparsity=0.5)")


def _of_target(target: str, precision: Precision | None) -> Rounding:
    from reprune_onnx.targets import read_target  # which reads TOML files and imports onnx

    return read_target(target).rounding_in(precision)
