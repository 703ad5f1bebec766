"""How long a layer takes, by its numbers of channels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerTime:
    """A layer's time in ms: base + per_row·r + per_column·c + per_element·r·c.

    r and c are the extents of its weight's axes 0 and 1.
    """

    base: float
    per_row: float
    per_column: float
    per_element: float
