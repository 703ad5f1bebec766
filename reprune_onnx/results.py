"""The results of the stages for one model, in their order; `types` has those about its channels.

    Model ──analyze──▶ Subject ──measure──▶ Measured ──allocate──▶ Budget ──select──▶ Selection
    Selection ──cut──▶ Cut ──verify──▶ Verification ──recover──▶ Recovery ──report──▶ Pruned

An `Attempt` is a selection and its cut; a target that only attempts can reach makes several, of
which a `SearchResult` has the one that was taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reprune_onnx.note import Note
from reprune_onnx.types import Bools, ChannelMap, Floats, GammaSource, Ints, Model, Selection

if TYPE_CHECKING:
    from reprune_onnx.activations.images import Images
    from reprune_onnx.analyzer.dequantized import Dequantized
    from reprune_onnx.analyzer.graph import Graph
    from reprune_onnx.report.fields import Report
    from reprune_onnx.runtime.tail import Tail
    from reprune_onnx.settings import Settings
    from reprune_onnx.streams.find import Stream

# ── analyze and measure ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Subject:
    """The part of a file that is pruned.

    ``source`` is the file, and ``model`` what of it is pruned: all, or what stands before its
    ``tail``. ``flat`` is that with local functions written out, of a ``quantized`` model the float
    network; ``graph`` is the graph in which its channels were followed, and ``channels`` what was
    learned of them.
    """

    source: Model
    model: Model
    flat: Model
    graph: Graph
    channels: ChannelMap
    tail: Tail | None = None
    quantized: Dequantized | None = None


@dataclass(frozen=True)
class LayerTime:
    """A layer's time in ms: base + per_row·r + per_column·c + per_element·r·c.

    r and c are the extents of its weight's axes 0 and 1.
    """

    base: float
    per_row: float
    per_column: float
    per_element: float


@dataclass(frozen=True)
class Losses:
    """``error[g.id] (n + 1,)`` for 0 … n kept channels, and ``order[g.id] (n,)`` by elimination.

    ``order`` has the channel that is kept longest first; it is empty where the curve is that of
    another criterion. Where the curve is the better of both, ``eliminated[g.id] (n + 1,)`` marks
    the numbers of channels at which elimination is. ``bases[g.id] (n, n)`` is A of a stream that is
    read as A·x: its curve and order are those of its axes.
    """

    error: dict[int, Floats]
    order: dict[int, Ints]
    eliminated: dict[int, Bools] = field(default_factory=dict)
    bases: dict[int, Floats] = field(default_factory=dict)

    def order_at(self, group: int, n_keep: int) -> Ints | None:
        """The order in which a group of which ``n_keep`` stay is eliminated; None where it is not.

        A group without a curve has none.
        """
        marks = self.eliminated.get(group)
        return self.order.get(group) if marks is None or marks[n_keep] else None


@dataclass(frozen=True)
class Knowledge:
    """Facts about the channels: ``gammas[g.id] (n,)``, each |γ|, and what images told.

    ``energies[node] (n_in,)`` is the mean square of a layer's input channels, ``losses`` what each
    group loses with its channels; both are empty without images. ``times[node]`` are those of
    layers, for a reduction of latency. ``gamma_source[node]`` says where a layer's |γ| comes from.
    """

    gammas: Mapping[int, Floats]
    energies: Mapping[int, Floats] = field(default_factory=dict)
    losses: Losses | None = None
    times: Mapping[int, LayerTime] = field(default_factory=dict)
    gamma_source: dict[int, GammaSource] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """A subject, and what all attempts at it share.

    Layers are fitted to ``images``; to those that are ``held_out`` nothing is, where the loss of
    accuracy has to be measured.
    """

    subject: Subject
    knowledge: Knowledge
    images: Images | None = None
    held_out: Images | None = None

    @property
    def every(self) -> Images | None:
        """All images, for what is fitted once nothing is measured on some of them any more."""
        if self.images is None or self.held_out is None:
            return self.images
        return self.images.joined(self.held_out)


# ── allocate, select and cut ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Budget:
    """The number of channels that each prunable group keeps ``{id: n_keep}``, and notes to print.

    ``expected`` is the reduction that they give, where the layers of a group have equal shares of
    every channel. ``unrounded`` is that before widths were rounded, where they were.
    """

    kept: dict[int, int]
    notes: tuple[Note, ...] = ()
    expected: float | None = None
    unrounded: float | None = None


@dataclass(frozen=True)
class TensorCut:
    """Rows ``keep`` along ``axis`` are left of ``initializer``; a copy names its ``source``."""

    initializer: str
    axis: int
    keep: Ints
    source: str | None = None


@dataclass(frozen=True)
class Rewrite:
    """A number that followed a number of channels: an attribute of a node, or a tensor.

    Where a node reads numbers that the graph computed, ``before`` is None, and so are those of
    ``after`` that it still computes.
    """

    where: str
    is_node: bool
    before: list[int] | int | None
    after: Sequence[float | None] | int


@dataclass(frozen=True)
class Cut:
    """The pruned model and everything that differs from the original."""

    model: Model
    cuts: tuple[TensorCut, ...]
    rewrites: tuple[Rewrite, ...]


@dataclass(frozen=True)
class Attempt:
    """A selection, and what it leaves of the model.

    ``graph`` is what was cut: the original, with the ``streams`` that lose axes in another basis.
    """

    selection: Selection
    cut: Cut
    graph: Graph
    streams: tuple[Stream, ...] = ()


@dataclass(frozen=True)
class CutNetwork:
    """A network, and the model that a cut left of it.

    ``graph`` is the original's, which ``channels`` describe; ``pruned`` is what is left of it once
    only the units ``keep (n_units,)`` stay.
    """

    graph: Graph
    channels: ChannelMap
    keep: Bools
    pruned: Model


# ── verify, recover and report ──────────────────────────────────────────────────────────────────


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


@dataclass(frozen=True)
class Distillation:
    """How far distillation came on ``held_out`` images that it did not learn from.

    ``before`` and ``after`` are the losses there; ``epoch`` of ``epochs`` is the one whose values
    were taken, by ``share``, and for the rest those that it began with (0: these alone).
    """

    epochs: int
    epoch: int
    share: float
    before: float
    after: float
    held_out: int


@dataclass(frozen=True)
class Recovery:
    """The recovered model and how it was made.

    ``error_before`` and ``error_after`` are the mean squared errors of the outputs on the images,
    relative to the outputs' variance (None without images); ``layers`` have new values. ``written``
    are the bytes of activations that went to a disk since the images were read. ``distillation``
    tells of the epochs that followed, if any did.
    """

    model: Model
    method: str
    samples: int
    layers: int
    error_before: float | None = None
    error_after: float | None = None
    written: int = 0
    distillation: Distillation | None = None


@dataclass(frozen=True)
class SearchResult:
    """The attempt that was taken, and what was measured of it.

    ``recovery`` is there where the search had to recover the attempt to judge it. ``reached`` are
    further targets that were measured; ``details`` fields of the report.
    """

    attempt: Attempt
    recovery: Recovery | None = None
    reached: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Instead:
    """The way ``taken`` without images, and ``why``, a sentence for the user.

    ``error`` is that of each way on ``held_out`` images; ``seconds`` are the CPU seconds that the
    generated images took.
    """

    taken: str
    why: Note
    error: dict[str, float] | None = None
    held_out: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class PruneRecord:
    """Everything a report is made from."""

    source: Model
    graph: Graph
    channels: ChannelMap
    settings: Settings
    selection: Selection
    cut: Cut
    verification: Verification | None
    recovery: Recovery | None = None
    search: SearchResult | None = None
    notes: tuple[Note, ...] = ()
    images: Images | None = None
    streams: tuple[Stream, ...] = ()


@dataclass(frozen=True)
class Pruned:
    """The pruned model, and the report that is written beside it.

    ``notes`` are what recovery alone has to say of its images; of a pruning the report has them.
    ``int8`` is the pruned model in int8, where that was asked for.
    """

    model: Model
    report: Report
    notes: tuple[Note, ...] = ()
    int8: Model | None = None
