"""The values that pass between the stages: the map of the architecture.

    model.onnx ──load──▶ Model ──analyze──▶ Graph, ChannelMap (with its Groups)
    Graph, ChannelMap, Settings ──allocate──▶ Budget ──select──▶ Selection
    Graph, ChannelMap, Selection ──cut──▶ Cut ──verify──▶ Verification ──recover──▶ Recovery
    Recovery ──save──▶ .onnx + report

`results` has those that stand for a model as a whole, from `Budget` on and what was measured.

The vocabulary, used with the same meaning everywhere:

label
    an integer carried by one channel of one activation. Labels that are tied stay or go together.
unit
    a set of tied labels: the smallest thing that can be kept or dropped.
site
    "axis ``a`` of this constant carries these labels": where a cut has to be made.
count
    an integer of the file that equals a number of channels (a group attribute, a Split size …).
group
    the units that the same layers produce: one selection problem. Its ``n`` channels are its units.
lock
    the reason, in a sentence, why labels must stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.note import Note

if TYPE_CHECKING:
    import onnx

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Shape = tuple["int | None", ...]

Role = Literal["out", "in", "param"]
LockKind = Literal["node", "output", "residual", "scope"]
GammaSource = Literal["bn", "calibration", "weights"]


@dataclass(frozen=True)
class Model:
    """An ONNX model in memory. Nothing may change ``proto``: stages copy what they edit.

    ``files`` are all files it was read from, those of external data included. ``moved`` nodes stood
    before what they read, and were sorted.
    """

    proto: onnx.ModelProto
    path: Path | None = None
    sha256: str = ""
    bytes: int = 0
    files: tuple[Path, ...] = ()
    moved: int = 0


# ── analysis ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Labels:
    """The labels of one activation.

    ``shape`` is the activation's shape; ``ids`` has the same rank, and along every axis either the
    full extent or 1, which says that the labels do not vary along that axis. ``None`` in ``shape``
    is an extent that the file does not determine; labels never vary along such an axis.
    """

    shape: Shape
    ids: Ints


@dataclass(frozen=True)
class Site:
    """Axis ``axis`` of the constant that node ``node`` reads as input ``input`` carries ``ids``.

    ``role`` is ``out`` (rows that produce the labels), ``in`` (slices that consume them: these are
    what the verifier zeroes) or ``param`` (one value per channel).
    """

    node: int
    input: int
    tensor: str
    axis: int
    ids: Ints
    role: Role


@dataclass(frozen=True)
class Count:
    """An integer that equals the number of kept labels among ``ids``.

    It is element ``index`` of attribute ``attribute`` of node ``node``, or, where ``attribute`` is
    empty, of the integer constant that the node reads as its input ``input``. ``sign`` is -1 where
    it counts from the end of an axis, as a negative Slice bound does.
    """

    node: int
    attribute: str
    input: int
    index: int
    ids: Ints
    sign: int = 1


@dataclass(frozen=True)
class Layer:
    """One Conv, ConvTranspose, Gemm, MatMul, Einsum, LSTM, GRU or RNN with a constant weight.

    ``out_axis`` of the weight carries the labels it produces (``out_ids``); of a recurrent layer it
    carries them once for every gate, block after block. ``positions`` is how often each weight is
    used per image, so that MACs are ``positions * weight.size``; 0 if unknown. ``more`` are
    (input, shape) of further weights that are used as often, as those that read the hidden state.
    """

    node: int
    name: str
    op: str
    weight: str
    input: int
    shape: tuple[int, ...]
    out_axis: int
    out_ids: Ints
    conv_groups: int
    positions: int
    bn: str | None = None
    more: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def weights(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(input, shape) of every weight whose multiply-adds are the layer's."""
        return ((self.input, self.shape), *self.more)

    @property
    def macs(self) -> int:
        """Multiply-adds per image; 0 where the positions are unknown."""
        return self.positions * sum(prod(shape) for _, shape in self.weights)


@dataclass(frozen=True)
class Lock:
    """Labels that must stay because of ``node``, with the reason as a sentence.

    They are locked by what the node does, as a graph output, or by an option: --residual, or
    --include and --exclude.
    """

    node: str
    ids: Ints
    reason: str
    kind: LockKind = "node"


@dataclass(frozen=True)
class Producer:
    """One layer of a group. ``rows[i]`` are the rows of ``layer.out_axis`` that make channel i."""

    layer: Layer
    rows: tuple[Ints, ...]


@dataclass(frozen=True)
class WholeBranch:
    """A part of the network that can go as a whole, and leave constants in its place.

    The layers ``closing`` (nodes) read the group and nothing else: without any of its channels each
    makes a constant. What becomes of that are the activations ``ends``, which ops such as an Add
    read beside the rest of the network. Nothing else needs the ``nodes``, those included, nor the
    ``groups`` (ids) that these alone make, the branch's own among them.
    """

    closing: tuple[int, ...]
    ends: tuple[str, ...]
    nodes: frozenset[int]
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Channels that are chosen together: one problem for allocation and selection.

    ``units (n,)`` are the unit of each channel, ``free (n,)`` says which of them may be dropped,
    ``nonempty`` lists sets of channels (positions in ``units``) of which at least one must stay.
    With a ``branch`` all of them may go, and that with them.
    """

    id: int
    units: Ints
    free: Bools
    producers: tuple[Producer, ...]
    consumers: tuple[str, ...]
    nonempty: tuple[Ints, ...] = ()
    branch: WholeBranch | None = None

    @property
    def n(self) -> int:
        """The number of channels."""
        return len(self.units)


@dataclass(frozen=True)
class Computed:
    """Numbers that the graph computes from numbers of channels: their values, and the units.

    Those that are not ``fixed``, of the shape of ``values``, are still computed after the cut.
    """

    values: NDArray[np.integer] | NDArray[np.floating]
    units: Ints
    fixed: Bools


@dataclass(frozen=True)
class Passing:
    """A product with a constant matrix that channels pass: to it they are positions.

    Each of the units ``ids (n,)`` costs ``macs`` multiply-adds.
    """

    node: int
    ids: Ints
    macs: float


@dataclass(frozen=True)
class Summed:
    """An activation that a node sums over its channels, along ``axis``, with those of another.

    No weight is cut there: the channels ``ids (n,)`` go from both. The verifier zeroes them.
    """

    node: int
    input: int
    axis: int
    ids: Ints


@dataclass(frozen=True)
class Statistic:
    """A mean, norm or extreme that a node takes over the channels ``ids (n,)`` of some ``inputs``.

    They lie along ``axis``, each at one place, or at ``times`` places in a row where positions lie
    there too. The pruned model takes it over those that are left, and so does the masked original.
    The node's ``outputs`` have these channels too, along the same axis.
    """

    node: int
    axis: int
    ids: Ints
    outputs: tuple[int, ...]
    times: int = 1
    inputs: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Branch:
    """A branch of an If that holds a layer; in the graph its tensors' names begin with ``prefix``.

    It runs in a copy of the model in which the conditions ``decided``, by the names of their
    tensors, are as they say, at inputs of ``shapes``. Messages call it ``title``.
    """

    prefix: str
    title: str
    decided: dict[str, bool]
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class ChannelMap:
    """Everything the analysis states about a model; ``unit_of[label]`` is the label's unit.

    ``written[node, input]`` are computed integers that depend on nothing but channels and would not
    follow them by themselves: they are written down as a constant where channels go. ``scope`` are
    the nodes of the layers that ``--include`` names, whose multiply-adds a reduction is of; None
    where that is all of them. ``sizes_found`` says why open sizes are not those that are assumed.
    ``passing`` are products that are no layers, of which multiply-adds go with the channels;
    ``summed`` products of activations that read channels without a weight; ``statistics`` are taken
    over channels that may go. ``branches`` are those of an If that hold layers.
    """

    tensors: dict[str, Labels]
    unit_of: Ints
    sites: tuple[Site, ...]
    counts: tuple[Count, ...]
    layers: tuple[Layer, ...]
    locks: tuple[Lock, ...]
    groups: tuple[Group, ...]
    written: dict[tuple[int, int], Computed] = field(default_factory=dict)
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scope: frozenset[int] | None = None
    sizes_found: Note | None = None
    passing: tuple[Passing, ...] = ()
    summed: tuple[Summed, ...] = ()
    statistics: tuple[Statistic, ...] = ()
    branches: tuple[Branch, ...] = ()

    def counts_layer(self, layer: Layer) -> bool:
        """Whether a reduction of multiply-adds counts those of ``layer``."""
        return self.scope is None or layer.node in self.scope

    def branches_gone(self, keep: Bools) -> list[WholeBranch]:
        """The branches that go as a whole where only the units ``keep (n_units,)`` stay.

        Of a branch within a branch that goes, nothing is told.
        """
        gone = [g.branch for g in self.groups if g.branch and not keep[g.units].any()]
        return [b for b in gone if not any(b.nodes < other.nodes for other in gone)]

    @property
    def n_units(self) -> int:
        """The number of units."""
        return int(self.unit_of.max(initial=-1)) + 1


# ── selection ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Filters:
    """One producer's filters within a group.

    ``kernels (m, n_in, d)`` are float64: the kernel of filter ``channels[i]`` for input channel j,
    flattened (d = kh·kw). ``channels (m,)`` are positions in the group; m < n where the producer
    makes only some of the group's channels. ``energy (n_in,)`` is the mean square of each input
    channel, where it was measured. ``trees`` holds their dendrograms by linkage once they were made
    for some number of channels: they are the same for any other.
    """

    kernels: Floats
    channels: Ints
    energy: Floats | None = None
    trees: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Problem:
    """Which ``n_keep`` of a group's ``n`` channels to keep.

    ``gamma (n,)`` is |γ| of each channel; ``fixed (n,)`` marks channels that stay in any case and
    count among the ``n_keep``. ``order (n,)`` lists them by what images tell, the last to go first,
    where that was measured. ``turned`` channels are axes of another basis, which no filter of the
    file makes: they go in that order by any criterion.
    """

    n: int
    filters: tuple[Filters, ...]
    gamma: Floats
    fixed: Bools
    n_keep: int
    order: Ints | None = None
    turned: bool = False

    def only(self, at: Ints, fixed: Bools, n_keep: int) -> Problem:
        """Return the problem of keeping ``n_keep`` of the channels ``at (k,)``, some ``fixed``."""
        number = np.full(self.n, -1, dtype=np.int64)
        number[at] = np.arange(len(at))
        filters = []
        for f in self.filters:
            mine = number[f.channels] >= 0
            if mine.any():
                part = Filters(f.kernels[mine], number[f.channels[mine]], f.energy)
                filters.append(part)
        order = None
        if self.order is not None:
            order = number[self.order]
            order = order[order >= 0]
        gamma = self.gamma[at]
        return Problem(len(at), tuple(filters), gamma, fixed, n_keep, order, self.turned)


@dataclass(frozen=True)
class Choice:
    """The kept channels, ascending; the coverage rate of Eq. 14 where the method has one."""

    kept: Ints
    coverage: float | None = None


@dataclass(frozen=True)
class Selection:
    """Which units stay, ``keep (n_units,)``, and per group what was asked and chosen.

    ``choices[g.id]`` is absent for a group of which nothing could go. ``gamma_source[node]`` says
    where a layer's |γ| comes from. ``unrounded`` is the reduction, of what was asked for, before
    widths were rounded, and ``expected`` the one that the allocation counted on.
    """

    keep: Bools
    choices: dict[int, Choice] = field(default_factory=dict)
    gamma_source: dict[int, GammaSource] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    unrounded: float | None = None
    expected: float | None = None
