"""Integers that a graph computes at run time: Shape → Gather → Concat → Reshape and the like.

Each element of such a small tensor is a `Number`. It remembers the value at the analysed input
shape, and what the value would become if channels went: a linear combination of extents of
activations. Where an element comes unchanged from a constant, it remembers that constant, so that
the cut can rewrite it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import FLOATS, Op
from reprune_onnx.analyzer.op_kinds import ARITHMETIC, COMPARISONS, MEASURING, SAME_ELEMENTS
from reprune_onnx.analyzer.scalar_functions import Function, applied, function_of
from reprune_onnx.reference import reference

Extent = tuple[str, int]
Term = tuple[Extent, ...]
"""Extents that are multiplied with each other."""
LARGEST = 4096
_REDUCES: dict[str, Function] = {
    "ReduceProd": lambda *x: prod(x),
    "ReduceSum": lambda *x: sum(x),
    "ReduceMin": lambda *x: min(x),
    "ReduceMax": lambda *x: max(x),
}

_MOVES = SAME_ELEMENTS - {"Cast"} | {"Concat", "Expand", "Gather", "Slice", "Tile"}
_KEEPS_INTEGERS: dict[str, Callable[[float], float]] = {
    "Cast": np.trunc,
    "CastLike": np.trunc,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
}
_COMPUTES = ARITHMETIC | COMPARISONS | MEASURING | set(_REDUCES) | {
    "Neg", "Clip", "Min", "Max", "Mod", "Pow", "Sqrt", "Where", "Not", "And", "Or", "Range",
    "ConstantOfShape", "Abs", "Reciprocal", "ScatterND", "ScatterElements", "NonZero", "Exp", "Log",
    "Sign", "Split",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Formula:
    """The function that made a number of others."""

    function: Function
    operands: tuple[Number, ...]


@dataclass(frozen=True)
class Number:
    """One computed number.

    ``value`` at the analysed input shape, None if unknown; ``terms`` the products of extents it is
    the weighted sum of, apart from a constant ``rest``, None if unknown; ``linear`` is False where
    it depends on ``terms`` in another way, then by ``formula`` if that is known; ``origin`` is
    (node, input, flat index) where it is an element of a constant, and ``factor`` that element
    where it is one times extents: the 8 of 8 heads of each image.
    """

    value: float | None
    terms: dict[Term, Fraction] = field(default_factory=dict)
    linear: bool = True
    origin: tuple[int, int, int] | None = None
    rest: Fraction | None = None
    formula: Formula | None = None
    factor: Number | None = None

    @property
    def constant(self) -> Fraction | None:
        """The part that depends on no extent; None if unknown."""
        if self.rest is not None or self.terms or self.value is None:
            return self.rest
        return Fraction(self.value)


Numbers = NDArray[np.object_]


def evaluate(
    number: Number, extent: Callable[[Extent], float], evaluated: dict[int, float | None]
) -> float | None:
    """The value at other extents, as after a cut: ``Max(C, 1)`` is C while a channel is left.

    None where it cannot be told. ``evaluated`` remembers the values of numbers by their ``id``.
    """
    if id(number) not in evaluated:
        evaluated[id(number)] = _evaluated(number, extent, evaluated)
    return evaluated[id(number)]


def _evaluated(
    number: Number, extent: Callable[[Extent], float], evaluated: dict[int, float | None]
) -> float | None:
    if number.formula is not None:
        operands = [evaluate(n, extent, evaluated) for n in number.formula.operands]
        return applied(number.formula.function, operands)
    if not number.terms:
        return number.value
    if number.rest is None or not number.linear:
        return None
    sums = (float(p) * prod(extent(e) for e in term) for term, p in number.terms.items())
    return float(number.rest) + sum(sums)


def constant(array: NDArray[Any], op: Op, i: int) -> Numbers:
    """The elements of a constant that ``op`` reads as input ``i``."""
    flat = [Number(v, origin=(op.index, i, k)) for k, v in enumerate(array.ravel().tolist())]
    return _fill(flat, array.shape)


def extents(tensor: str, shape: tuple[int | None, ...]) -> Numbers:
    """The numbers that ``Shape`` computes of an activation."""
    return _fill(
        [Number(n, {((tensor, a),): Fraction(1)}, rest=Fraction(0)) for a, n in enumerate(shape)],
        (len(shape),),
    )


def extent_of(number: Number) -> Extent | None:
    """The extent that a number is, and nothing else; None where it is none."""
    one = number.linear and number.constant == 0 and list(number.terms.values()) == [1]
    if not one or len(next(iter(number.terms))) != 1:
        return None
    ((extent,),) = number.terms
    return extent


def multiplied(a: Number, b: Number, value: float | None) -> Number:
    """The product of two numbers: of every term with every other."""
    terms: dict[Term, Fraction] = {}
    left, right = a.constant, b.constant
    if left is None or right is None or not (a.linear and b.linear):
        return Number(value, _sum(a.terms, b.terms, 1), linear=not (a.terms or b.terms))
    for x, p in (*a.terms.items(), ((), left)):
        for y, q in (*b.terms.items(), ((), right)):
            term = tuple(sorted((*x, *y)))
            if term:
                terms[term] = terms.get(term, Fraction(0)) + p * q
    return Number(value, {k: v for k, v in terms.items() if v}, rest=left * right)


def values(numbers: Numbers) -> NDArray[Any] | None:
    """The plain values; None where one is unknown."""
    flat = [n.value for n in numbers.ravel()]
    return None if None in flat else np.asarray(flat).reshape(numbers.shape)


def compute(op: Op, inputs: list[Numbers | None], dtypes: list[Any]) -> list[Numbers] | None:
    """The outputs of ``op`` on numbers; None where the op is not one that shapes are made with."""
    if op.domain != "":
        return None
    given = [n for n in inputs if n is not None]
    if op.type in _MOVES:
        return _move(op, inputs)
    if op.type in _KEEPS_INTEGERS:
        if _to_float(op, dtypes):
            return [given[0]]
        rounding = _KEEPS_INTEGERS[op.type]
        return [_fill([_rounded(n, rounding) for n in given[0].ravel()], given[0].shape)]
    return _computed(op, inputs, dtypes) if op.type in _COMPUTES else None


def _computed(op: Op, inputs: list[Numbers | None], dtypes: list[Any]) -> list[Numbers] | None:
    """The outputs of an op that computes new values."""
    given = [n for n in inputs if n is not None]
    results = _concrete(op, inputs, dtypes)
    wild = any(n.value is not None and not isfinite(n.value) for g in given for n in g.ravel())
    if wild or not all(_finite(r) for r in results or ()):
        return None  # no shape is made of infinity
    function = function_of(op, dtypes[0] is not None and np.dtype(dtypes[0]).kind in "iub")
    if function is not None and len(given) == len(inputs):
        return _each(op.type, function, given, None if results is None else results[0])
    if op.type in _REDUCES and given[0].ndim == 1 and not op.attrs.get("noop_with_empty_axes", 0):
        shape = (1,) if op.attrs.get("keepdims", 1) else ()
        value = None if results is None else results[0].item()
        return [_fill([_reduced(op.type, tuple(given[0]), value)], shape)]
    if results is None:
        return None
    terms = {t: Fraction(0) for n in given for e in n.ravel() for t in e.terms}
    if op.type in MEASURING:
        terms = {}  # how many numbers there are does not depend on channels
    return [
        _fill([Number(v, dict(terms), linear=not terms) for v in r.ravel().tolist()], r.shape)
        for r in results
    ]


def _move(op: Op, inputs: list[Numbers | None]) -> list[Numbers] | None:
    """Run the op on positions instead of values, then pick the numbers at those positions."""
    data = len(inputs) if op.type == "Concat" else 1  # the others have theirs in input 0
    pool: list[Number] = []
    feeds: list[NDArray[Any] | None] = []
    for k, numbers in enumerate(inputs):
        if numbers is None:
            feeds.append(None)
        elif k < data:
            feeds.append(np.arange(len(pool), len(pool) + numbers.size).reshape(numbers.shape))
            pool += list(numbers.ravel())
        else:
            array = values(numbers)
            if array is None:
                return None
            feeds.append(array.astype(np.int64))
    results = _reference(op, feeds)
    if results is None:
        return None
    return [_fill([pool[int(p)] for p in r.ravel()], r.shape) for r in results]


def _concrete(op: Op, inputs: list[Numbers | None], dtypes: list[Any]) -> list[NDArray[Any]] | None:
    feeds: list[NDArray[Any] | None] = []
    measures = op.type in MEASURING  # no value matters
    for numbers, dtype in zip(inputs, dtypes, strict=True):
        array = None if numbers is None else values(numbers)
        if numbers is not None and measures:
            array = np.zeros(numbers.shape)
        if numbers is not None and array is None:
            return None
        feeds.append(None if array is None else array.astype(dtype))
    return _reference(op, feeds)


def _reference(op: Op, feeds: list[NDArray[Any] | None]) -> list[NDArray[Any]] | None:
    """Evaluate one node with onnx's reference implementation; None if it cannot or is too large."""
    results = reference(op.proto, op.opset)(feeds)
    return results if results and all(r.size <= LARGEST for r in results) else None


def _finite(result: NDArray[Any]) -> bool:
    return result.dtype.kind != "f" or bool(np.isfinite(result).all())


def _each(
    kind: str, function: Function, given: list[Numbers], result: NDArray[Any] | None
) -> list[Numbers] | None:
    """The numbers that an op makes place by place; ``result`` is None where one is unknown."""
    try:
        operands = np.broadcast_arrays(*given)
    except ValueError:
        return None
    places = list(zip(*(o.ravel() for o in operands), strict=True))
    if result is None:
        values = [applied(function, [n.value for n in place]) for place in places]
    else:
        values = result.ravel().tolist()
    out = [
        _element(kind, Formula(function, place), value)
        for place, value in zip(places, values, strict=True)
    ]
    return [_fill(out, operands[0].shape)]


def _element(kind: str, made: Formula, value: float | None) -> Number:
    """One number made of others: a weighted sum of extents where it is one."""
    e = list(made.operands)
    if kind == "Where" and not e[0].terms and e[0].value is not None:
        return e[1] if e[0].value else e[2]
    if kind in COMPARISONS and (decided := _decided(made)) is not None:
        return Number(decided)
    if kind == "Mul":
        number = multiplied(e[0], e[1], value)
    elif kind in ("Add", "Sub", "Neg", "Div"):
        terms, linear, rest = _combine(kind, e)
        number = Number(value, terms, linear, rest=rest)
    else:
        terms = {t: Fraction(0) for n in e for t in n.terms}
        number = Number(value, terms, linear=not terms)
    origin = e[0].origin if _is_neutral(kind, e) else None
    factor = _factor(e) if kind == "Mul" else None
    formula = None if number.linear else made
    return replace(number, origin=origin, formula=formula, factor=factor)


def _decided(made: Formula) -> float | None:
    """The result of a comparison, if it is the same at all extents, none negative; else None."""
    a, b = made.operands
    if a.constant is None or b.constant is None or not (a.linear and b.linear):
        return None
    weights, rest = _sum(a.terms, b.terms, -1).values(), a.constant - b.constant
    above = rest > 0 and all(p >= 0 for p in weights)
    below = rest < 0 and all(p <= 0 for p in weights)
    return applied(made.function, [float(rest), 0.0]) if above or below else None


def _reduced(kind: str, elements: tuple[Number, ...], value: float | None) -> Number:
    """One number of all elements: a product or sum of extents where it is one."""
    terms = {t: Fraction(0) for n in elements for t in n.terms}
    if all(n.linear for n in elements) and kind == "ReduceProd":
        product = reduce(lambda a, b: multiplied(a, b, None), elements)
        return replace(product, value=value, factor=_factor(list(elements)))
    if all(n.linear for n in elements) and kind == "ReduceSum":
        total = reduce(_added, elements)
        return replace(total, value=value)
    made = Formula(_REDUCES[kind], elements)
    return Number(value, terms, linear=not terms, formula=made if terms else None)


def _added(a: Number, b: Number) -> Number:
    terms, linear, rest = _combine("Add", [a, b])
    return Number(None, terms, linear, rest=rest)


def _combine(kind: str, e: list[Number]) -> tuple[dict[Term, Fraction], bool, Fraction | None]:
    linear = all(n.linear for n in e)
    a, b = e[0], e[-1]
    left, right = a.constant, b.constant
    if kind in ("Add", "Sub"):
        sign = 1 if kind == "Add" else -1
        rest = None if left is None or right is None else left + sign * right
        return _sum(a.terms, b.terms, sign), linear, rest
    if kind == "Neg":
        return _scaled(a.terms, Fraction(-1)), linear, None if left is None else -left
    if kind == "Div" and not b.terms and b.value:
        exact = a.value is not None and float(a.value / b.value).is_integer()
        still_linear = linear and (exact or not a.terms)
        scale = 1 / Fraction(b.value)
        return (
            _scaled(a.terms, scale),
            still_linear,
            None if left is None or not exact else left * scale,
        )
    union = _sum(a.terms, b.terms, 1)
    return union, linear and not union, None


def _sum(a: dict[Term, Fraction], b: dict[Term, Fraction], sign: int) -> dict[Term, Fraction]:
    return {k: a.get(k, Fraction(0)) + sign * b.get(k, Fraction(0)) for k in {**a, **b}}


def _scaled(terms: dict[Term, Fraction], factor: Fraction) -> dict[Term, Fraction]:
    return {k: v * factor for k, v in terms.items()}


def _factor(e: list[Number]) -> Number | None:
    """The one element of a constant among the factors of a product of extents."""
    factors = [n.factor or n for n in e if n.factor is not None or not n.terms]
    return factors[0] if len(factors) == 1 and factors[0].origin is not None else None


def _is_neutral(kind: str, e: list[Number]) -> bool:
    if len(e) == 1 or e[0].origin is None or e[1].terms:
        return False
    return kind in ("Mul", "Div") and e[1].value == 1


def _to_float(op: Op, dtypes: list[Any]) -> bool:
    """Whether it is a Cast to a type that holds fractions."""
    if op.type == "Cast":
        return op.attrs.get("to") in FLOATS
    return op.type == "CastLike" and dtypes[1] is not None and np.dtype(dtypes[1]).kind == "f"


def _rounded(number: Number, rounding: Callable[[float], float]) -> Number:
    has_value = number.value is not None
    if number.formula is None and (not has_value or float(number.value or 0).is_integer()):
        return number
    value = float(rounding(number.value)) if number.value is not None else None
    made = Formula(lambda x: float(rounding(x)), (number,))
    return Number(value, number.terms, not number.terms, formula=made if number.terms else None)


def _fill(flat: list[Any], shape: tuple[int, ...]) -> Numbers:
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(shape)
