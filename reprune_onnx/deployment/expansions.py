"""Ops that a device lacks, written out in ops that it has.

An expansion fills a draft with the nodes that make the op's outputs from its inputs. It returns
None, or the reason why it cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from reprune_onnx.deployment.draft import Draft
from reprune_onnx.deployment.norms import NORMS

Expansion = Callable[[Draft], "str | None"]


def _cast_like(d: Draft) -> str | None:
    to = d.facts.types.get(d.op.inputs[1])
    if to is None:
        return f"the type of '{d.op.inputs[1]}', which it casts to, is not known"
    d.add("Cast", d.op.inputs[0], last=True, to=to)
    return None


def _hard_swish(d: Draft) -> None:
    x = d.op.inputs[0]
    gate = d.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    d.add("Mul", x, gate, last=True)


def _mish(d: Draft) -> None:
    x = d.op.inputs[0]
    d.add("Mul", x, d.add("Tanh", d.add("Softplus", x)), last=True)


def _swish(d: Draft) -> None:
    x = d.op.inputs[0]
    alpha = float(d.op.attrs.get("alpha", 1.0))
    scaled = x if alpha == 1.0 else d.add("Mul", x, d.constant(alpha))
    d.add("Mul", x, d.add("Sigmoid", scaled), last=True)


def _gelu(d: Draft) -> None:
    x = d.op.inputs[0]
    if d.op.attrs.get("approximate", b"none") == b"tanh":
        cube = d.add("Mul", d.add("Mul", x, x), d.add("Mul", x, d.constant(0.044715)))
        inner = d.add("Mul", d.add("Add", x, cube), d.constant(math.sqrt(2 / math.pi)))
        gate = d.add("Tanh", inner)
    else:
        gate = d.add("Erf", d.add("Mul", x, d.constant(math.sqrt(0.5))))
    half = d.add("Mul", x, d.constant(0.5))
    d.add("Mul", half, d.add("Add", gate, d.constant(1.0)), last=True)


def _reciprocal(d: Draft) -> None:
    d.add("Div", d.constant(1.0), d.op.inputs[0], last=True)


EXPANSIONS: dict[str, Expansion] = {
    **NORMS,
    "CastLike": _cast_like,
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "Reciprocal": _reciprocal,
    "Swish": _swish,
}
