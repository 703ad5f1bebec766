"""The proof of a cut, with no data needed.

The *masked original* is the original model whose consumers' input slices are zeroed at the dropped
channels. It has the original's shapes and shares nothing with the cut but the list of what went;
the pruned model must compute what it computes. Both run in ONNX Runtime with graph optimisation
off, on several random inputs, and on two sizes where sizes are symbolic.

A comparison is worth something only if it can fail. So the pruned model is also cut wrongly on
purpose, with other rows of one consumer's weight, and the difference that this makes must be at
least ten times what is allowed: the *negative control*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.precision import as_float32, tolerance
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Bools, ChannelMap, Cut, Model, Site, Verification

Arrays = dict[str, NDArray[Any]]
Progress = Callable[[str, int, int], None]

_TAIL = set(
    "ArgMax ArgMin Cast Clip Concat Flatten HardSigmoid Hardmax Identity LogSoftmax Reshape Sigmoid"
    " Softmax Softsign Squeeze Tanh Transpose Unsqueeze".split()
)
_CONTROLS = 12  # wrong cuts tried before giving up on finding one that shows
_CONTROL_FACTOR = 10.0


@dataclass(frozen=True)
class _Difference:
    absolute: float
    scale: float

    @property
    def relative(self) -> float:
        return self.absolute / self.scale if self.scale > 0 else self.absolute


def verify_cut(
    model: Model,
    channels: ChannelMap,
    keep: Bools,
    cut: Cut,
    progress: Progress | None = None,
) -> Verification:
    """Compare the cut of ``model`` to the units ``keep (n_units,)`` with the masked original.

    Raises ModelError where ONNX Runtime cannot run the original at all: without it nothing can be
    proven. A difference that is too large is returned, not raised.
    """
    allowed = tolerance(model.proto)
    original = as_float32(model.proto)
    pruned = as_float32(cut.model.proto)
    # One tensor is made and zeroed per consumer; the original's own stay where other nodes read it.
    observed = _observed(channels, keep)
    names = list(dict.fromkeys([*observed, *channels.graph.outputs]))
    masked = Session(_masked(original, channels, keep), optimize=False, outputs=names)
    candidate = Session(pruned, optimize=False, outputs=names)
    runs = list(_runs(model.proto, masked, channels.input_shapes))
    if not runs:
        raise ModelError("ONNX Runtime cannot run the model on any input that was tried")
    differences: list[_Difference] = []
    for k, (feeds, expected) in enumerate(runs):
        try:
            found = candidate.run(feeds)
        except ModelError as error:
            raise VerificationError(f"the pruned model does not run: {error}") from error
        differences.append(_difference(expected, found, observed))
        if progress is not None:
            progress("verifying", k + 1, len(runs))
    worst = max(differences, key=lambda d: d.relative)
    if keep.all():
        ok = worst.relative <= allowed
        return Verification(ok, worst.absolute, worst.scale, 0.0, allowed, len(runs))
    control = _negative_control(pruned, (channels, keep, observed), runs[0], allowed) * worst.scale
    passed = worst.relative <= allowed and control >= _CONTROL_FACTOR * allowed * worst.scale
    return Verification(passed, worst.absolute, worst.scale, control, allowed, len(runs))


def check(result: Verification) -> None:
    """Raise VerificationError where a verification did not pass, saying which half failed."""
    if result.passed:
        return
    limit = result.tolerance * result.scale
    if result.max_abs_diff > limit:
        raise VerificationError(
            f"the pruned model differs from the masked original by {result.max_abs_diff:.3g}, more"
            f" than the {limit:.3g} allowed: this is a bug of reprune-onnx; please report the model"
        )
    raise VerificationError(
        f"nothing could be proven: a deliberately wrong cut changes the outputs by only"
        f" {result.negative_control:.3g}, less than ten times the {limit:.3g} allowed; the model's"
        " outputs hardly depend on its weights (--no-verify writes the model unproven)"
    )


# ── the masked original ─────────────────────────────────────────────────────────────────────────


def _masked(proto: onnx.ModelProto, channels: ChannelMap, keep: Bools) -> onnx.ModelProto:
    masked = onnx.ModelProto()
    masked.CopyFrom(proto)
    arrays: dict[tuple[int, int], NDArray[Any]] = {}
    for site in _consumers(channels, keep):
        key = (site.node, site.input)
        if key not in arrays:
            arrays[key] = _constant(channels.graph, site.tensor).copy()
        slices: list[Any] = [slice(None)] * arrays[key].ndim
        slices[site.axis] = ~keep[site.ids]
        arrays[key][tuple(slices)] = 0
    for (node, i), array in arrays.items():
        _rewire(masked, masked.graph.node[node], i, array)
    return masked


def _consumers(channels: ChannelMap, keep: Bools) -> Iterator[Site]:
    return (s for s in channels.sites if s.role == "in" and not keep[s.ids].all())


def _constant(graph: Graph, name: str) -> NDArray[Any]:
    array = graph.array(name)
    return array if array.dtype == np.float16 else array.astype(np.float32)


def _rewire(proto: onnx.ModelProto, node: onnx.NodeProto, i: int, array: NDArray[Any]) -> None:
    """Let input ``i`` of ``node`` read ``array``, and nothing else change."""
    name = f"{node.input[i]}__{len(proto.graph.initializer)}"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    if proto.ir_version < 4:
        info = onnx.helper.make_tensor_value_info(
            name, proto.graph.initializer[-1].data_type, array.shape
        )
        proto.graph.input.append(info)
    node.input[i] = name


# ── the negative control ────────────────────────────────────────────────────────────────────────


def _negative_control(
    pruned: onnx.ModelProto,
    what: tuple[ChannelMap, Bools, list[str]],
    run: tuple[Arrays, Arrays],
    allowed: float,
) -> float:
    """The relative difference that a wrong cut of one consumer's weight makes; the best of a few."""
    channels, keep, observed = what
    feeds, expected = run
    best = 0.0
    sites = [s for s in _consumers(channels, keep) if keep[s.ids].any()]
    step = max(1, len(sites) // _CONTROLS)
    places = {o: k for k, node in enumerate(pruned.graph.node) for o in node.output if o}
    for site in sites[::-step]:
        op = channels.graph.ops[site.node]
        wrong = onnx.ModelProto()
        wrong.CopyFrom(pruned)
        node = wrong.graph.node[places[next(o for o in op.outputs if o)]]
        _rewire(wrong, node, site.input, _wrongly_cut(channels, keep, site))
        session = Session(wrong, optimize=False, outputs=observed)
        best = max(best, _difference(expected, session.run(feeds), observed).relative)
        if best >= _CONTROL_FACTOR * max(allowed, 1e-3):
            break
    return best


def _wrongly_cut(channels: ChannelMap, keep: Bools, site: Site) -> NDArray[Any]:
    """The right number of slices along ``site.axis``, but dropped ones wherever there are any."""
    array = _constant(channels.graph, site.tensor)
    for other in channels.sites:
        if (other.node, other.input) == (site.node, site.input) and other.axis != site.axis:
            array = array.take(np.flatnonzero(keep[other.ids]), axis=other.axis)
    kept, dropped = np.flatnonzero(keep[site.ids]), np.flatnonzero(~keep[site.ids])
    wrong = np.resize(dropped, len(kept))
    return array.take(wrong, axis=site.axis)


# ── inputs and comparison ───────────────────────────────────────────────────────────────────────


def _runs(
    proto: onnx.ModelProto, masked: Session, shapes: dict[str, tuple[int, ...]]
) -> Iterator[tuple[Arrays, Arrays]]:
    """(inputs, expected outputs) of every input that the masked original accepts.

    The first must run. A second size need not: not every model with symbolic sizes takes any size.
    """
    for k, sizes in enumerate(_sizes(proto, shapes)):
        feeds = _random_feeds(masked, sizes, np.random.default_rng(k))
        try:
            yield feeds, masked.run(feeds)
        except ModelError:
            if k == 0:
                raise


def _sizes(
    proto: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]
) -> Iterator[dict[str, tuple[int, ...]]]:
    """The analysed size twice, then batch 2 and larger images where the model leaves them open."""
    yield shapes
    yield shapes
    symbolic = {
        i.name: [not d.HasField("dim_value") for d in i.type.tensor_type.shape.dim]
        for i in proto.graph.input
    }
    other = {
        name: tuple(
            n if not free else (n + 1 if axis == 0 else n + 32)
            for axis, (n, free) in enumerate(zip(shape, symbolic[name], strict=True))
        )
        for name, shape in shapes.items()
    }
    if other != shapes:
        yield other
    batch = {name: (other[name][0], *shape[1:]) for name, shape in shapes.items() if shape}
    if batch not in (other, shapes) and batch:
        yield batch | {name: shape for name, shape in shapes.items() if not shape}


def _random_feeds(
    session: Session, shapes: dict[str, tuple[int, ...]], rng: np.random.Generator
) -> Arrays:
    feeds: Arrays = {}
    for tensor in session.inputs:
        shape = shapes[tensor.name]
        kind = np.dtype(tensor.dtype).kind
        if kind == "f":
            feeds[tensor.name] = rng.standard_normal(shape).astype(tensor.dtype)
        elif kind == "b":
            feeds[tensor.name] = rng.integers(0, 2, shape).astype(tensor.dtype)
        else:
            top = 256 if np.dtype(tensor.dtype).itemsize == 1 else 2
            feeds[tensor.name] = rng.integers(0, top, shape).astype(tensor.dtype)
    return feeds


def _difference(expected: Arrays, found: Arrays, observed: list[str]) -> _Difference:
    """The largest difference of any tensor, relative to its largest magnitude.

    What is not ``observed`` is an output of a squashing op: its scale is at least 1.
    """
    differences = [_Difference(0.0, 0.0)]
    for name in expected.keys() & found.keys():
        a, b = expected[name], found[name]
        if a.dtype.kind not in "fiub" or a.size == 0:
            continue
        if a.shape != b.shape:
            return _Difference(float("inf"), 1.0)
        a, b = a.astype(np.float64), b.astype(np.float64)
        wild = ~np.isfinite(a)
        if not np.array_equal(wild, ~np.isfinite(b)):
            return _Difference(float("inf"), 1.0)
        a, b = np.where(wild, 0.0, a), np.where(wild, 0.0, b)
        scale = max(float(np.abs(a).max()), 0.0 if name in observed else 1.0)
        differences.append(_Difference(float(np.abs(a - b).max()), scale))
    return max(differences, key=lambda d: (d.relative, d.scale))


def _observed(channels: ChannelMap, keep: Bools) -> list[str]:
    """The tensors to compare: the outputs, and in place of a squashed output what was squashed.

    Sigmoid and its kind flatten differences, and where they are saturated only rounding is left to
    compare. The same op on the same values gives the same output, so its input is compared instead.
    """
    graph = channels.graph
    found: list[str] = []
    seen: set[str] = set()
    stack = list(graph.outputs[::-1])
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        op = graph.producer(name)
        behind = [] if op is None or op.domain or op.type not in _TAIL else _data_inputs(op)
        behind = [i for i in behind if i in channels.tensors]
        open_ = [i for i in behind if keep[channels.tensors[i].ids].all()]
        if behind and len(open_) == len(behind):
            stack.extend(behind)
        else:
            found.append(name)
    return found


def _data_inputs(op: Op) -> tuple[str, ...]:
    return op.inputs if op.type == "Concat" else op.inputs[:1]
