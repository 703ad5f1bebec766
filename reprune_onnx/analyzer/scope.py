"""``--include`` and ``--exclude``: globs over node names that limit what may be pruned."""

from __future__ import annotations

import difflib
import fnmatch

from reprune_onnx.analyzer.drafts import LockDraft
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.errors import SelectionError


def locked_by_scope(w: Walk, include: tuple[str, ...], exclude: tuple[str, ...]) -> list[LockDraft]:
    """Locks for the layers that are not included, or are excluded.

    Raises SelectionError for a glob that matches no layer, naming near misses.
    """
    names = [layer.op.name for layer in w.layers]
    inside = matching(include, names, "--include") if include else set(names)
    outside = matching(exclude, names, "--exclude")
    locks = []
    for layer in w.layers:
        name = layer.op.name
        if name not in inside:
            locks.append(LockDraft(name, layer.out, "not named by --include", kind="scope"))
        elif name in outside:
            locks.append(LockDraft(name, layer.out, "named by --exclude", kind="scope"))
    return locks


def matching(
    globs: tuple[str, ...], names: list[str], option: str, what: str = "layer"
) -> set[str]:
    """The names that match any of the globs; each glob must match something.

    Raises SelectionError for a glob that matches no ``what``, naming near misses.
    """
    matched: set[str] = set()
    for glob in globs:
        hits = {name for name in names if fnmatch.fnmatchcase(name, glob)}
        if not hits:
            bare = glob.strip("*")
            near = [n for n in names if bare and bare.lower() in n.lower()]
            near = near or difflib.get_close_matches(bare, names, n=3, cutoff=0.3)
            kind = "near misses" if near else "the first names"
            hint = ", ".join(f"'{n}'" for n in (near or names)[:3])
            raise SelectionError(f"{option} '{glob}' matches no {what}; {kind}: {hint}")
        matched |= hits
    return matched
