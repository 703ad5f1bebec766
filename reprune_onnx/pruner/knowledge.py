"""What allocation and selection know of the channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reprune_onnx.pruner.layer_time import LayerTime
from reprune_onnx.pruner.sensitivity.curves import Losses
from reprune_onnx.types import Floats


@dataclass(frozen=True)
class Knowledge:
    """What is known of the channels: ``gammas[g.id] (n,)``, each |γ|, and what images told.

    ``energies[node] (n_in,)`` is the mean square of a layer's input channels, ``losses`` what each
    group loses with its channels; both are empty without images. ``times[node]`` are those of
    layers, for a reduction of latency.
    """

    gammas: Mapping[int, Floats]
    energies: Mapping[int, Floats] = field(default_factory=dict)
    losses: Losses | None = None
    times: Mapping[int, LayerTime] = field(default_factory=dict)
