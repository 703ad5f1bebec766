"""Every option of `prune`, declared and checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from reprune_onnx.arguments import wrong_type
from reprune_onnx.choices import (
    PRESETS,
    Allocation,
    Basis,
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
    Task,
    Then,
    TieBreak,
)
from reprune_onnx.data_options import CALIBRATION, CLASSES, DECODE, PREPROCESS, SKIP_BROKEN
from reprune_onnx.errors import UsageError
from reprune_onnx.in_memory import InMemory
from reprune_onnx.options import Option, Takes, check_fields, flag
from reprune_onnx.ranges import SHARES, check_images, check_ranges, check_search
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
_MEASURES: dict[str, Measure] = {"sparsity": "channels", **SHARES}
_TARGETS = (*_MEASURES, "max_drop", "keep")


@dataclass(frozen=True)
class Settings:
    """The options of `prune`, of which exactly one target is given.

    The targets are ``sparsity``, the reductions, ``max_drop`` and ``keep``.
    Each field is an option of the command line, whose names its sentence uses: ``--round-to`` is
    the field ``round_to``. Raises UsageError for a value out of range, and ArgumentError, which is
    one and a TypeError, for a value of a wrong type.
    """

    sparsity: Annotated[
        float | None,
        Option("Share of the prunable channels to remove, between 0 and 1.", "S"),
    ] = None
    macs_reduction: Annotated[
        float | None,
        Option(
            "Share of the multiply-adds to remove, between 0 and 1. With --include or --exclude it"
            " is a share of the layers that these leave.",
            "R",
        ),
    ] = None
    params_reduction: Annotated[
        float | None, Option("Share of the parameters to remove, between 0 and 1.", "R")
    ] = None
    latency_reduction: Annotated[
        float | None,
        Option(
            "Share of the time of one run to save, between 0 and 1, as measured on this machine or"
            " read from --latency-table.",
            "R",
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        Option(
            "Find the smallest model that loses at most this many percentage points on a third of"
            " the --calibration images: of accuracy where they have labels, else (and with another"
            " --task) of agreement with MODEL.",
            "POINTS",
        ),
    ] = None
    task: Annotated[
        Task,
        Option(
            "Task of MODEL, by which --max-drop, --search, --then and sweep measure agreement with"
            " it: same top class (classification), AP of boxes, MODEL's being the truth"
            " (detection), mean IoU (semantic-segmentation), 100 less the relative distance in"
            " percent (regression), same labels (multi-label)."
        ),
    ] = "classification"
    decode: Annotated[str | None, DECODE] = None
    keep: Annotated[
        Takes[ReportLike | None, Path | Mapping[str, Any] | None],
        Option("Keep the channels that an earlier report kept.", "FILE", words=Path | None),
    ] = Takes(as_report, None)
    method: Annotated[
        Takes[MethodLike, Method | Criterion],
        Option(
            "Criterion that chooses the channels: reprune is the paper's; reconstruction (needs"
            " --calibration) removes those that the next layers miss least; auto is reprune, and"
            " with images reconstruction in layers where reprune loses more than a fifth more on"
            " them; the others are for comparison.",
            words=Method,
        ),
    ] = Takes(as_criterion, "auto")
    coverage: Annotated[
        CoverageOption,
        Option(
            "Weight of a covered cluster, for --method reprune: 1 (count, as in the paper); the"
            " squared norms of its kernels (norm); or these times their input's energy (energy,"
            " needs --calibration). auto is norm with images, own or generated, else count."
        ),
    ] = "auto"
    allocation: Annotated[
        Allocation,
        Option(
            "Rule for the number of channels of each layer: least loss on images (sensitivity,"
            " needs --calibration); |γ| of BatchNormalization (bn-gamma, Eq. 8-9 of the paper); the"
            " same share everywhere (uniform). auto is sensitivity with images, own or generated,"
            " else bn-gamma."
        ),
    ] = "auto"
    residual: Annotated[
        Residual,
        Option(
            "Channels that meet at a residual Add: keep them; prune only inside the branches"
            " (inner); or remove the same ones from all layers that share them (prune)."
        ),
    ] = "keep"
    norm_statistics: Annotated[
        NormStatistics,
        Option(
            "Channels under a LayerNormalization, or under a mean, norm or maximum over channels:"
            " lock keeps them all; kept lets some go, and takes the statistics over the rest. auto"
            " is kept with --residual prune, except under sums, else lock."
        ),
    ] = "auto"
    basis: Annotated[
        Basis,
        Option(
            "Basis of residual streams that linear layers alone write and read. auto turns them"
            " with --residual prune and images, and cuts axes instead of channels, which loses"
            " less; file keeps the file's, so that the cuts of the report hold for other weights."
        ),
    ] = "auto"
    linkage: Annotated[Linkage, Option("Distance between two clusters of kernels.")] = "ward"
    cutoff: Annotated[
        Cutoff,
        Option(
            "End of the clustering, for --method reprune: after as many merges as filters go"
            " (merge-count), or at one height for all input channels (height, Eq. 5 of the paper)."
        ),
    ] = "merge-count"
    tie_break: Annotated[
        TieBreak,
        Option("Choice among filters that cover equally many clusters: chance or l2 norm."),
    ] = "random"
    seed: Annotated[int, Option("Seed of all random choices.", "N")] = 0
    input_channels: Annotated[
        InputChannels,
        Option("Input channels that the clustering sees: all, or those that earlier layers keep."),
    ] = "all"
    include: Annotated[
        Takes[Globs, tuple[str, ...]],
        Option(
            "Prune only layers whose node name matches, such as '*backbone*'; repeatable.",
            "GLOB",
            words=list[str],
        ),
    ] = Takes(as_globs, ())
    exclude: Annotated[
        Takes[Globs, tuple[str, ...]],
        Option("Do not prune layers whose node name matches; repeatable.", "GLOB", words=list[str]),
    ] = Takes(as_globs, ())
    layer: Annotated[
        Takes[WidthsLike, tuple[tuple[str, int], ...]],
        Option(
            "Keep N channels in layers whose node name matches, whatever the target; 0 takes out"
            " the whole residual branch. Repeatable.",
            "GLOB=N",
            words=list[str],
            read=words_of_widths,
        ),
    ] = Takes(as_widths, ())
    min_channels: Annotated[
        int | None,
        Option(
            "Fewest channels that any layer keeps. With 0 whole residual branches may go, too."
            " Default: 0 where the losses are measured on images, else 1.",
            "N",
        ),
    ] = None
    target: Annotated[
        str | None,
        Option(
            "Device that the widths are to suit, such as cpu or jetson-tx2 (`targets` lists them),"
            " or a .toml file of your own.",
            "NAME",
        ),
    ] = None
    precision: Annotated[
        Precision | None,
        Option("Precision that --target will compute in; default: the target's own."),
    ] = None
    round_to: Annotated[
        int | None,
        Option(
            "Multiple that the kept channels of each layer are rounded to. Default: the target"
            " device's, or 8 where latency is measured, else 1.",
            "N",
        ),
    ] = None
    input_shapes: Annotated[
        Takes[ShapesLike, tuple[tuple[str, tuple[int, ...]], ...]], INPUT_SHAPE
    ] = Takes(as_shapes, ())
    calibration: Annotated[Takes[DataLike | None, str | InMemory | None], CALIBRATION] = Takes(
        as_data, None
    )
    calibration_size: Annotated[int, Option("Most --calibration images to use.", "N")] = 512
    preprocess: Annotated[str | None, PREPROCESS] = None
    classes: Annotated[Takes[PathLike | None, Path | None], CLASSES] = Takes(as_path, None)
    skip_broken: Annotated[bool, SKIP_BROKEN] = False
    recover: Annotated[
        Takes[RecoverLike, Recover | RecoveryMethod],
        Option(
            "Repair of accuracy after the cut: none; data-free, by the file alone; batch-norm or"
            " least-squares, on images; distill, least-squares and then some epochs in PyTorch, to"
            " learn MODEL's answers. auto is least-squares with --calibration, else data-free;"
            " prune without images also tries least-squares on generated ones, and takes the"
            " better.",
            words=Recover,
        ),
    ] = Takes(as_recovery, "auto")
    distill_epochs: Annotated[
        int, Option("Passes over the images of --recover distill.", "N", ("--distill-epochs",))
    ] = 60
    search: Annotated[
        float | None,
        Option(
            "Try other numbers of channels for so long, and take those whose outputs are nearest to"
            " MODEL's on a third of the images, or agree most by --task (needs --calibration).",
            "SECONDS",
        ),
    ] = None
    then: Annotated[
        Then | None,
        Option(
            "What follows: int8 writes the pruned model in int8 too, as OUT-int8.onnx, and compares"
            " float, pruned, int8 and both on a third of the images."
        ),
    ] = None
    latency_table: Annotated[
        Takes[PathLike | None, Path | None],
        Option(
            "Times of layers on another device, for --latency-reduction: JSON of bench --layers,"
            " or results.json of a bundle.",
            "FILE",
            words=Path | None,
        ),
    ] = Takes(as_path, None)
    verify: Annotated[
        bool,
        Option(
            "Write the model without proving the cut.",
            names=("--no-verify",),
            words=bool,
            read=not_,
        ),
    ] = True
    jobs: Annotated[
        int, Option("Processes that work side by side; -1 for all cores.", "N", ("--jobs", "-j"))
    ] = 1
    memory: Annotated[
        str | None,
        Option(
            "Memory for the activations of images, such as 512M or 2G; the rest goes to a"
            " temporary file. Default: half of the free memory.",
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
            options = ", ".join(map(flag, _TARGETS))
            named = " and ".join(map(flag, given)) or "none"
            raise UsageError(
                f"give exactly one of {options}; given: {named} (--macs-reduction 0.5 halves the"
                " multiply-adds)"
            )
        check_ranges(self)
        check_images(self)
        check_search(self)
        if self.target is not None:
            _of_target(self.target, self.precision)
        elif self.precision is not None:
            raise UsageError("--precision is that of a --target: give one too")

    @property
    def resolved_coverage(self) -> Coverage:
        """The coverage that ``auto`` stands for: with images ``norm``, which kept more accuracy."""
        if self.coverage == "auto":
            clusters = self.method in ("auto", "reprune")
            return "norm" if clusters and self.calibration else "count"
        return self.coverage

    @property
    def reading(self) -> Reading:
        """The options for reading calibration images."""
        from reprune_onnx.data.reading import Reading

        return Reading(self.preprocess, self.classes, self.skip_broken)

    @property
    def rounding(self) -> Rounding:
        """The multiple to which kept channels are rounded: ``round_to``, or the target's.

        With neither, it is ONNX Runtime's block where latency is measured here, else any number.
        """
        if self.round_to is not None:
            return Rounding(self.round_to)
        if self.target is not None:
            return _of_target(self.target, self.precision)
        return Rounding(_BLOCK) if self.measures_latency else Rounding()

    @property
    def by_losses(self) -> bool:
        """Whether the allocation follows measured losses."""
        auto = self.allocation == "auto" and self.calibration is not None
        return auto or self.allocation == "sensitivity"

    def fewest_channels(self, *, by_losses: bool) -> int:
        """Return the least number of channels of any layer.

        Left open it is 0 where losses tell what a whole branch is worth, and 1 elsewhere.
        """
        if self.min_channels is not None:
            return self.min_channels
        return 0 if by_losses else 1

    @property
    def scoped(self) -> bool:
        """Whether ``include`` or ``exclude`` limit what may be pruned."""
        return bool(self.include or self.exclude)

    @property
    def measures_latency(self) -> bool:
        """Whether the target is a latency on this machine, not one that a table estimates."""
        return self.latency_reduction is not None and self.latency_table is None

    @property
    def holds_out(self) -> bool:
        """Whether a third of the images is held out, as something is measured on it."""
        return any(x is not None for x in (self.max_drop, self.then, self.search))

    @property
    def generates(self) -> bool:
        """Whether images may be generated, as none are given and recovery is left to the tool."""
        return self.calibration is None and self.recover == "auto"

    @property
    def turns(self) -> bool:
        """Whether streams may get another basis: their channels may go, and images show which."""
        return self.basis == "auto" and self.residual == "prune" and self.calibration is not None

    @property
    def select_options(self) -> SelectOptions:
        """The options of Algorithm 1."""
        return SelectOptions(self.linkage, self.cutoff, self.tie_break, self.resolved_coverage)

    @property
    def reduction(self) -> Reduction | None:
        """The share that goes; None for ``max_drop``, which searches it, and for ``keep``."""
        shares = ((measure, getattr(self, name)) for name, measure in _MEASURES.items())
        return next((Reduction(*share) for share in shares if share[1] is not None), None)

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
        values["min_channels"] = self.fewest_channels(by_losses=self.by_losses)
        values["target"] = None if self.target is None else Path(self.target).stem
        return values


def check_settings(settings: object) -> None:
    """Raise ArgumentError for what are no `Settings`."""
    if not isinstance(settings, Settings):
        raise wrong_type("settings", settings, "Settings, such as Settings(sparsity=0.5)")


def _of_target(target: str, precision: Precision | None) -> Rounding:
    from reprune_onnx.targets import read_target  # which reads TOML files and imports onnx

    return read_target(target).rounding_in(precision)
