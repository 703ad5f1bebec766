"""The numbers of channels that a group may keep."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reprune_onnx.pruner.allocate.guard import least_kept
from reprune_onnx.settings import Settings
from reprune_onnx.types import Group, Ints


def widths(
    group: Group, settings: Settings, overrides: Mapping[int, int], *, by_losses: bool
) -> Ints:
    """Return what suits the device, ascending; the one of ``overrides {id: n_keep}`` if any.

    ``by_losses`` says whether measured losses choose among them (`Settings.fewest_channels`).
    """
    if group.id in overrides:
        return np.array([overrides[group.id]])
    least = least_kept(group, settings.fewest_channels(by_losses=by_losses))
    return settings.rounding.choices(group.n, least)
