"""Times of layers, from TensorRT's profile: what `prune --latency-table` reads.

TensorRT fuses nodes and joins their names, as in "Conv_0 + Relu_1" or "Conv_3 || Conv_5". A fused
time belongs to the layers among its names, in equal parts; what names no layer is the rest.
"""

import re


def shares(profile, known):
    """Return ({layer: ms}, ms of the rest) of one profile; ``known`` are the layers' names."""
    times = {}
    rest = 0.0
    for entry in profile:
        parts = re.split(r" \+ | \|\| |[(),]\s*", entry["name"])
        own = [part for part in parts if part in known]
        if entry["name"].startswith("Reformatting CopyNode"):
            own = []
        for part in own:
            times[part] = times.get(part, 0.0) + entry["averageMs"] / len(own)
        if not own:
            rest += entry["averageMs"]
    return times, rest


def table(found, rows):
    """Return "layers" and "rest_ms" of the first model and of those that were pruned from it.

    They are those of its first precision, at the smallest batch size that was profiled.
    """
    first = found["models"][0]
    source = first["pruned_from"] or first["source"]["sha256"]
    family = [m for m in found["models"] if source in (m["pruned_from"], m["source"]["sha256"])]
    chosen = [r for r in rows if r.get("profile") and r["precision"] == first["precisions"][0]]
    names = [m["name"] for m in family]
    chosen = [r for r in chosen if r["name"] in names]
    batch = min((r["batch_size"] for r in chosen), default=None)
    listed, rest = [], None
    for model in family:
        for row in chosen:
            if row["name"] != model["name"] or row["batch_size"] != batch:
                continue
            extents = {entry["layer"]: entry for entry in model["layers"]}
            times, own_rest = shares(row["profile"], extents)
            rest = own_rest if rest is None else rest
            listed += [dict(extents[name], ms=ms) for name, ms in times.items() if ms > 0]
    return {
        "layers": listed,
        "rest_ms": rest or 0.0,
        "profiled": {"batch_size": batch, "precision": first["precisions"][0]},
    }
