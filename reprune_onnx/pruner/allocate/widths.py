"""The numbers of channels that a group may keep."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reprune_onnx.pruner.allocate.guard import least_kept
from reprune_onnx.settings import Settings
from reprune_onnx.types import Group, Ints


def widths(group: Group, settings: Settings, overrides: Mapping[int, int]) -> Ints:
    """Return what suits the device, ascending; the one of ``overrides {id: n_keep}`` if any."""
    if group.id in overrides:
        return np.array([overrides[group.id]])
    least = least_kept(group.n, int((~group.free).sum()), settings.min_channels)
    return settings.rounding.choices(group.n, least)
