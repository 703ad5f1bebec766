"""Who teaches: the file that `--distill` names, or the one that MODEL was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reprune_onnx.model import load
from reprune_onnx.report.origin import origin_of
from reprune_onnx.types import Model

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Teacher:
    """The unpruned ``model``, None where nobody teaches; ``told`` is about one not asked for."""

    model: Model | None = None
    told: str = ""

    @classmethod
    def named(cls, distill: str | None) -> Teacher:
        """The model that ``--distill`` names, as a path."""
        return cls(None if distill in (None, NONE) else load(Path(distill)))

    @classmethod
    def chosen(cls, distill: str, path: Path, source: Model, pruned_here: bool) -> Teacher:
        """`named`; for ``auto`` the unpruned model that ``source``, the file at ``path``, is of.

        Where ``source`` is pruned here, that is itself.
        """
        if distill != AUTO:
            return cls.named(distill)
        if pruned_here:
            return cls(source, f"taught by the file as it is before pruning {_OTHERWISE}")
        origin = origin_of(path)
        if origin is None:
            return cls()
        told = f"taught by '{origin.model.path}', which '{origin.told_by}' names {_OTHERWISE}"
        return cls(origin.model, told)


_OTHERWISE = "(--distill none learns from labels alone)"
