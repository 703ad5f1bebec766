"""The functions of ops that shapes are computed with, on one element of each operand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from reprune_onnx.analyzer.graph import Op

Function = Callable[..., "float | None"]


def applied(function: Function, operands: Sequence[float | None]) -> float | None:
    """The value of a function; None where it depends on an operand that is unknown, or has none."""
    try:
        value = function(*operands)
    except (TypeError, ArithmeticError, ValueError):  # of None, of division by 0
        return None
    return value if value is None or math.isfinite(value) else None


def function_of(op: Op, of_integers: bool) -> Function | None:
    """The result of an op for one element of each operand, in integers if ``of_integers``."""
    if op.type == "Clip" and op.opset < 11:
        low, high = op.attrs.get("min", -math.inf), op.attrs.get("max", math.inf)
        return lambda x: min(max(_number(x), low), high)
    if op.type == "Mod" and op.attrs.get("fmod", 0):
        return lambda a, b: math.fmod(_number(a), _number(b))
    return (_WHOLE if of_integers and op.type in _WHOLE else _PLAIN).get(op.type)


def _number(x: float | None) -> float:
    if x is None:
        raise TypeError("unknown")
    return x


def _quotient(a: float | None, b: float | None) -> float:
    x, y = int(_number(a)), int(_number(b))
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def _clipped(x: float | None, low: float | None = None, high: float | None = None) -> float:
    above = _number(x) if low is None else max(_number(x), low)
    return above if high is None else min(above, high)


def _chosen(condition: float | None, a: float | None, b: float | None) -> float | None:
    return a if _number(condition) else b


def _least(*x: float | None) -> float:
    return min(_number(v) for v in x)


def _most(*x: float | None) -> float:
    return max(_number(v) for v in x)


def _compared(holds: Callable[[float, float], bool]) -> Function:
    return lambda a, b: float(holds(_number(a), _number(b)))


def _single(function: Callable[[float], float]) -> Function:
    return lambda x: float(function(_number(x)))


_WHOLE: dict[str, Function] = {"Div": _quotient, "Cast": _single(math.trunc)}
_PLAIN: dict[str, Function] = {
    "Add": lambda a, b: _number(a) + _number(b),
    "Sub": lambda a, b: _number(a) - _number(b),
    "Mul": lambda a, b: _number(a) * _number(b),
    "Div": lambda a, b: _number(a) / _number(b),
    "Mod": lambda a, b: _number(a) % _number(b),
    "Pow": lambda a, b: _number(a) ** _number(b),
    "Min": _least,
    "Max": _most,
    "Clip": _clipped,
    "Where": _chosen,
    "Neg": _single(lambda x: -x),
    "Abs": _single(abs),
    "Sign": _single(lambda x: (x > 0) - (x < 0)),
    "Sqrt": _single(math.sqrt),
    "Exp": _single(math.exp),
    "Log": _single(math.log),
    "Reciprocal": _single(lambda x: 1 / x),
    "Floor": _single(math.floor),
    "Ceil": _single(math.ceil),
    "Round": _single(round),  # to even, as ONNX rounds
    "Not": _single(lambda x: not x),
    "And": _compared(lambda a, b: bool(a and b)),
    "Or": _compared(lambda a, b: bool(a or b)),
    "Equal": _compared(lambda a, b: a == b),
    "Less": _compared(lambda a, b: a < b),
    "LessOrEqual": _compared(lambda a, b: a <= b),
    "Greater": _compared(lambda a, b: a > b),
    "GreaterOrEqual": _compared(lambda a, b: a >= b),
}
