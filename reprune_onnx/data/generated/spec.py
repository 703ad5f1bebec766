"""``generated[:refined][:FAMILY+…][:N]``: the command line's word for images by formula."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from reprune_onnx import near
from reprune_onnx.data.generated.families import FAMILIES
from reprune_onnx.errors import UsageError

WORD = "generated"
_REFINED = "refined"
_MOST_DIGITS = 7


@dataclass(frozen=True)
class GeneratedSpec:
    """The number of images (None: the command's own) and the names of their families (none: all).

    ``refined``: they are moved by gradient towards the model's own statistics.
    """

    n: int | None = None
    names: tuple[str, ...] = ()
    refined: bool = False


def is_generated(spec: object) -> TypeGuard[str]:
    """Whether DATA asks for generated images."""
    return isinstance(spec, str) and spec.partition(":")[0].strip().lower() == WORD


def parse_generated(spec: str) -> GeneratedSpec:
    """Read ``generated``, ``generated:500``, ``generated:leaves+noise``, ``generated:refined``.

    Parts may be joined, each once, in any order.

    UsageError for anything else, and where a file of that name exists, which may be meant.

    >>> parse_generated("generated:leaves+noise:500")
    GeneratedSpec(n=500, names=('leaves', 'noise'), refined=False)
    """
    if Path(spec).exists():
        raise UsageError(
            f"'{spec}' asks for generated images, but there is a file or folder of that name; give"
            f" ./{spec} for that"
        )
    n, names, refined = None, tuple[str, ...](), False
    for part in spec.split(":")[1:]:
        if part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS and n is None:
            n = int(part)
        elif part == _REFINED and not refined:
            refined = True
        elif not names:
            names = _families(part, spec)
        else:
            raise UsageError(
                f"'{spec}' is not {WORD}[:{_REFINED}][:FAMILY+…][:N], as in {WORD}:leaves+noise:500"
            )
    if n == 0:
        raise UsageError(f"'{spec}': generate at least 1 image, better some hundreds")
    return GeneratedSpec(n, names, refined)


def check_families(names: tuple[str, ...], axes: int) -> None:
    """Raise UsageError where one of these families is not made for so many axes of space."""
    fitting = [name for name, family in FAMILIES.items() if axes in family.turns]
    for name in names:
        if name not in fitting:
            raise UsageError(
                f"generated:{name}: the model's input has {axes} axes of space, for which there are"
                f" {', '.join(fitting)}"
            )


def _families(text: str, spec: str) -> tuple[str, ...]:
    names = tuple(text.split("+"))
    for name in names:
        if name not in FAMILIES:
            raise UsageError(
                f"'{spec}': '{name}' is neither a number of images nor a family"
                f"{near.hint(name, FAMILIES)}; families are {', '.join(FAMILIES)}"
            )
    return names
