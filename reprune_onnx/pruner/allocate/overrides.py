"""``--layer``: how many channels single layers keep."""

from __future__ import annotations

from reprune_onnx.analyzer.scope import matching
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.allocate.guard import least_kept
from reprune_onnx.settings import Settings
from reprune_onnx.types import ChannelMap


def overrides(channels: ChannelMap, settings: Settings) -> dict[int, int]:
    """Return what ``--layer GLOB=N`` says: ``{id: n_keep}`` of the groups that layers belong to.

    Raises SelectionError where a layer has not so many channels, or more must stay.
    """
    names = [layer.name for layer in channels.layers]
    kept: dict[int, int] = {}
    for glob, wanted in settings.layer:
        hits = matching((glob,), names, "--layer")
        for g in channels.groups:
            for producer in g.producers:
                if producer.layer.name not in hits:
                    continue
                rows = len(producer.layer.out_ids)
                n_keep = round(wanted * g.n / rows)
                least = least_kept(g, 0)
                if not least <= n_keep <= g.n:
                    raise SelectionError(
                        f"--layer '{glob}={wanted}': '{producer.layer.name}' has {rows} channels;"
                        f" give a number from {least * rows // g.n} to {rows}"
                    )
                kept[g.id] = n_keep
    return kept
