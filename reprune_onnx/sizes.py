"""Sizes for a model's inputs that fit what is fixed inside it.

A file may leave the sizes of an image open outside, and inside reshape to numbers that only some
sizes have. What is assumed is checked by shape inference; where something does not fit, others are
tried: those that the numbers inside lead to, then common ones, until ONNX Runtime runs one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from math import prod

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.model import copy_emptied
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import DRAWS, random_inputs
from reprune_onnx.shapes import concrete_shapes, image_layout, stated_shapes, symbols

Shapes = dict[str, tuple[int, ...]]

_SIDES = (
    *(32, 40, 48, 56, 64, 80, 96, 100, 112, 128, 160, 192, 224, 240, 256, 288, 299, 300, 320, 352),
    *(384, 416, 448, 480, 512, 576, 608, 640, 768, 800, 1024),
)
_LINES = ((48, 320), (32, 320), (32, 100))  # of text
_HEIGHTS, _WIDTHS = (48, 32, 64, 128), (320, 100, 128, 160, 192, 200, 256, 400, 480, 512, 640, 800)
_LENGTHS = (
    *(224, 512, 1024, 256, 128, 64, 32, 2048, 4096, 8192, 100, 200, 250, 300, 400, 500, 1000),
    *(1500, 2000, 3000, 4000, 8000, 16000, 32000),
)
_CUBES = (32, 64, 16, 48, 96, 128, 24, 8)
_BATCHES = (2, 4, 8, 16, 32)
_STEPS = (32, 16, 8, 4, 1)  # sides that the numbers inside lead to are rounded to these
_LARGE = 1024  # elements of a constant that shape inference need not see
_RUNS = 60  # sizes that are run before the search ends
_MOST = 2**24  # numbers of an input that is run only to see whether it fits


@dataclass(frozen=True)
class Found:
    """The shapes of a model's inputs, and why they are not those that are assumed, if so."""

    shapes: Shapes
    note: str = ""


def fitting_shapes(proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]) -> Found:
    """Return shapes without symbols that the model runs with: `concrete_shapes`, if these fit.

    Extents that the file states or ``overrides`` gives stay. Raises ModelError, naming sizes tried,
    where a number inside fits none of them.
    """
    assumed = concrete_shapes(proto, overrides)
    search = _Search(proto, assumed, overrides)
    if not search.open or not assumed:
        return Found(assumed)
    misfit = search.misfit(assumed)
    if misfit is None and (search.only_batches or search.determined(assumed)):
        return Found(assumed)
    runs = search.runner()
    if runs is None or runs(assumed):
        return Found(assumed)
    misfit = misfit or _Misfit("", "ONNX Runtime does not run the model", known=False)
    tried = [assumed]
    for shapes in islice(search.fitting(misfit, tried), _RUNS):
        if runs(shapes):
            names = [name for name in shapes if shapes[name] != assumed[name]]
            fits, not_ = ({name: sizes[name] for name in names} for sizes in (shapes, assumed))
            text = f"{_text(fits)} fits, and {_text(not_)}, which is assumed, does not"
            return Found(shapes, f"sizes of inputs are open: {text} ({misfit.reason})")
    if not misfit.node:
        return Found(assumed)
    raise ModelError(
        f"{misfit.reason} at {_text(assumed)}, which is assumed, and {len(tried) - 1} other sizes"
        f" do not fit, from {_text(min(tried, key=_numbers))} to {_text(max(tried, key=_numbers))}:"
        f" give sizes with --input-shape {search.first}=…"
    )


def fits(proto: onnx.ModelProto, shapes: Shapes) -> bool:
    """Whether shape inference finds nothing inside that inputs of these shapes do not fit."""
    return _Search(proto, shapes, {}).misfit(shapes) is None


@dataclass(frozen=True)
class _Misfit:
    """What does not fit: ``have`` numbers where ``node`` wants ``want``, or a multiple of them.

    ``node`` is empty where only shape inference says so, which does not know every op, and
    ``known`` is False where shape inference has not seen it.
    """

    node: str
    reason: str
    have: int = 0
    want: int = 0
    known: bool = True


class _Search:
    """A model without its weights, for shape inference, and with them in ONNX Runtime."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        assumed: Shapes,
        overrides: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._proto = proto
        self._assumed = assumed
        known = symbols(proto)
        given = {s for name in overrides for s in known.get(name, ()) if s}
        stated = stated_shapes(proto, {})
        self._axes = {name: known[name] for name in assumed if name in known}
        self._stated = {name: stated[name] or () for name in self._axes}
        self.open = [
            s for axes in self._axes.values() for s in axes if s is not None and s not in given
        ]
        self._firsts = [axes[0] for axes in self._axes.values() if axes and axes[0] in self.open]
        self.first = next((n for n, a in self._axes.items() if set(a) & set(self.open)), "")

    @cached_property
    def _light(self) -> onnx.ModelProto:
        """The model without large weights, whose shapes are declared, and without stated shapes."""
        large = {t.name: t for t in self._proto.graph.initializer if prod(t.dims) > _LARGE}
        light = copy_emptied(self._proto, large)
        rest = [t for t in light.graph.initializer if t.name not in large]
        del light.graph.initializer[:]
        light.graph.initializer.extend(rest)
        declared = {i.name for i in light.graph.input}
        for name, t in large.items():
            if name not in declared:
                light.graph.input.append(
                    onnx.helper.make_tensor_value_info(name, t.data_type, list(t.dims))
                )
        del light.graph.value_info[:]
        for output in light.graph.output:
            output.type.tensor_type.ClearField("shape")
        return light

    def _inferred(self, shapes: Shapes, strict: bool) -> onnx.ModelProto:
        for value in self._light.graph.input:
            if value.name in shapes:
                dims = value.type.tensor_type.shape
                del dims.dim[:]
                for n in shapes[value.name]:
                    dims.dim.add(dim_value=n)
        return onnx.shape_inference.infer_shapes(
            self._light, check_type=False, strict_mode=strict, data_prop=True
        )

    def misfit(self, shapes: Shapes) -> _Misfit | None:
        """What does not fit by shape inference; the first, by the numbers of a node if possible."""
        for need in self._needs(shapes):
            if need.have % max(need.want, 1):
                return need
        try:
            self._inferred(shapes, strict=True)
        except Exception as error:  # onnx raises whatever its C++ threw
            return _Misfit("", f"shapes do not fit ({_line(error)})")
        return None

    def fitting(self, misfit: _Misfit, tried: list[Shapes]) -> Iterator[Shapes]:
        """The candidates that fit by shape inference, the nearest to what a node wants first.

        All candidates are added to ``tried``.
        """
        others: list[tuple[float, Shapes]] = []
        for shapes in self._candidates(misfit):
            if shapes in tried:
                continue
            tried.append(shapes)
            if misfit.known and self.misfit(shapes) is not None:
                continue
            excess = self._excess(shapes, misfit) if misfit.want else 1.0
            if excess == 1.0:
                yield shapes
            else:
                others.append((excess, shapes))
        yield from (shapes for _, shapes in sorted(others, key=lambda other: other[0]))

    def _excess(self, shapes: Shapes, misfit: _Misfit) -> float:
        """How many times as many numbers come to the node as it wants at least."""
        own = next((n for n in self._needs(shapes) if n.node == misfit.node), None)
        return own.have / own.want if own is not None and own.want else 1.0

    def _needs(self, shapes: Shapes) -> Iterator[_Misfit]:
        """What Reshapes to constant numbers and matrices want of what comes to them."""
        try:
            inferred = self._inferred(shapes, strict=False)
        except Exception:  # the same error is raised again, and told, when all is checked
            return
        extents = {
            v.name: _extents(v)
            for v in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
        }
        extents |= {t.name: tuple(t.dims) for t in inferred.graph.initializer}
        constants = _integers(inferred.graph)
        for node in inferred.graph.node:
            data = extents.get(node.input[0]) if node.input else None
            if node.domain or not data or 0 in data:
                continue
            title = f"{node.op_type} '{node.name or node.output[0]}'"
            if node.op_type == "Reshape":
                target = constants.get(node.input[1], extents.get(node.output[0]))
                to = [
                    data[k] if n == 0 and k < len(data) else n for k, n in enumerate(target or [-1])
                ]
                want = prod(n for n in to if n > 0)
                have = prod(data)
                if -1 not in to and have != want:
                    have = have if have % want else have + 1  # no multiple will do
                text = f"{title} makes {_times(to)} of {_times(data)}"
                yield _Misfit(title, text, have, want)
            if node.op_type in ("MatMul", "Gemm") and len(node.input) > 1:
                rows = extents.get(node.input[1])
                flags = {a.name: a.i for a in node.attribute}
                if rows and len(rows) > 1 and not flags.get("transA"):
                    want = rows[-1] if flags.get("transB") else rows[-2]
                    if data[-1] != want:
                        text = f"{title} multiplies {_times(data)} with {_times(rows)}"
                        yield _Misfit(title, text, data[-1] * want + 1, want)

    @property
    def only_batches(self) -> bool:
        """Whether nothing but first extents is open."""
        return set(self.open) <= set(self._firsts)

    def determined(self, shapes: Shapes) -> bool:
        """Whether shape inference knows every shape, so that nothing it does not see can misfit."""
        graph = self._inferred(shapes, strict=False).graph
        known = {v.name for v in (*graph.value_info, *graph.output) if _extents(v) is not None}
        return all(name in known for node in graph.node for name in node.output if name)

    def runner(self) -> Callable[[Shapes], bool] | None:
        """What tells whether ONNX Runtime runs given shapes; None where it loads no such model."""
        try:
            session = Session(self._proto, optimize=False)
        except ModelError:
            return None

        def run(shapes: Shapes) -> bool:
            if any(prod(shape) > _MOST for shape in shapes.values()):
                return False
            for draw in DRAWS:
                try:
                    session.run(
                        random_inputs(session.inputs, shapes, np.random.default_rng(0), draw)
                    )
                except ModelError:
                    continue
                return True
            return False

        return run

    def _candidates(self, misfit: _Misfit) -> Iterator[Shapes]:
        """Shapes to try: those that the numbers inside lead to, then common ones."""
        axes, shape = self._axes[self.first], self._assumed[self.first]
        sides = [k for k, s in enumerate(axes) if k and s in self.open and not self._channels(k)]
        ratio = misfit.want / misfit.have if misfit.have and misfit.want else 1.0
        led = dict.fromkeys(
            max(step, round(shape[k] * ratio ** (1 / len(sides)) / step) * step)
            for k in sides
            for step in _STEPS
        )
        for combination in _combinations(len(sides), len(shape), list(led)):
            sizes = {str(axes[k]): n for k, n in zip(sides, combination, strict=True)}
            yield self._with(sizes)
        for n in _BATCHES if self._firsts else ():
            yield self._with({str(s): n for s in self._firsts})

    def _channels(self, axis: int) -> bool:
        """Whether an axis of the first input holds the channels of an image."""
        stated = self._stated[self.first]
        if len(stated) < 4:
            return False
        return axis == (3 if len(stated) == 4 and image_layout(stated) == "nhwc" else 1)

    def _with(self, sizes: Mapping[str, int]) -> Shapes:
        return {
            name: tuple(
                sizes.get(s, n) if s in self.open else n
                for s, n in zip(self._axes.get(name, (None,) * len(shape)), shape, strict=True)
            )
            for name, shape in self._assumed.items()
        }


def _combinations(n: int, rank: int, led: list[int]) -> Iterator[tuple[int, ...]]:
    """Sizes of ``n`` open sides of an input of that rank."""
    yield from ((side,) * n for side in led if n)
    if rank <= 3:
        yield from ((length,) * n for length in _LENGTHS if n)
        return
    if n == 2 and rank == 4:
        yield from _LINES
    yield from ((side,) * n for side in (_SIDES if rank == 4 else _CUBES) if n)
    if n == 2 and rank == 4:
        yield from product(_HEIGHTS, _WIDTHS)
        yield from product(_WIDTHS, _HEIGHTS)


def _extents(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def _integers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The small lists of whole numbers among the constants."""
    tensors = {t.name: t for t in graph.initializer}
    tensors |= {
        node.output[0]: a.t
        for node in graph.node
        for a in node.attribute
        if node.op_type == "Constant" and a.HasField("t")
    }
    return {
        name: onnx.numpy_helper.to_array(t).ravel().tolist()
        for name, t in tensors.items()
        if t.data_type == onnx.TensorProto.INT64 and prod(t.dims) < _LARGE
    }


def _numbers(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def _times(shape: tuple[int, ...] | list[int]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _text(shapes: Shapes) -> str:
    return ", ".join(f"{name} = {_times(shape)}" for name, shape in shapes.items())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
