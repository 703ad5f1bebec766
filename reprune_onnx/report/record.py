"""The report of one pruning, whose fields other tools rely on, and the stamp inside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx

from reprune_onnx.activations.images import Images
from reprune_onnx.json_text import parse_json
from reprune_onnx.model import size
from reprune_onnx.note import Note
from reprune_onnx.pruner.measure import Cost, cost, parameters
from reprune_onnx.pruner.missed import missed
from reprune_onnx.report.cut_notes import notes_of_cut
from reprune_onnx.report.fields import (
    CalibrationEntry,
    CostEntry,
    CutEntry,
    DistillationEntry,
    InsteadEntry,
    Int8Entry,
    LayerEntry,
    LockedEntry,
    MissedEntry,
    RecoveryEntry,
    RemovedEntry,
    Report,
    RewrittenEntry,
    ScopeEntry,
    TurnedEntry,
    VerificationEntry,
)
from reprune_onnx.report.missing import missing
from reprune_onnx.report.stays import Stay, stays
from reprune_onnx.results import (
    Distillation,
    Instead,
    PruneRecord,
    Recovery,
    Rewrite,
    TensorCut,
    Verification,
)
from reprune_onnx.runtime.custom_ops import loaded
from reprune_onnx.settings import Settings
from reprune_onnx.streams.find import Stream
from reprune_onnx.tool import this_tool
from reprune_onnx.types import Bools, ChannelMap, Layer, Model, WholeBranch

SCHEMA = 1
STAGES = ("load", "analyze", "allocate", "select", "cut", "verify", "recover", "int8", "write")


def stamp(record: PruneRecord) -> Model:
    """The pruned model with the tool's version, the settings and the source's hash in its metadata.

    No paths, no times, no number of jobs: the same input, options and seed give the same bytes.
    """
    values = {
        "reprune_onnx.version": this_tool()["version"],
        "reprune_onnx.settings": json.dumps(record.settings.as_report(), sort_keys=True),
        "reprune_onnx.source_sha256": record.source.sha256,
    }
    return _stamped(record.cut.model.proto, values, record.source.path)


def stamp_recovery(model: Model, settings: Settings) -> Model:
    """A recovered model whose metadata says how it was recovered."""
    metadata = {p.key: p.value for p in model.proto.metadata_props}
    try:
        earlier = parse_json(metadata["reprune_onnx.settings"])
    except (KeyError, ValueError):
        earlier = {}
    if not isinstance(earlier, dict):
        earlier = {}
    used = settings.as_report()
    names = ("recover", "calibration", "calibration_size", "preprocess")
    earlier |= {name: used[name] for name in names}
    values = {"reprune_onnx.settings": json.dumps(earlier, sort_keys=True)}
    return _stamped(model.proto, values, model.path)


def _stamped(source: onnx.ModelProto, values: Mapping[str, str], path: Path | None) -> Model:
    """A copy, as the proto may be the caller's own where nothing was cut."""
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    kept = [p for p in proto.metadata_props if p.key not in values]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    for key, value in values.items():
        proto.metadata_props.add(key=key, value=value)
    return Model(proto, path, "", size(proto))


def build_report(record: PruneRecord, pruned: Model, seconds: Mapping[str, float]) -> Report:
    """The report as plain JSON values."""
    graph, channels, keep = record.graph, record.channels, record.selection.keep
    source, search = record.source, record.search
    before = replace(cost(graph, channels), params=parameters(source.proto))
    after = replace(cost(graph, channels, keep), params=parameters(pruned.proto))
    kept, branches = stays(graph, channels), channels.branches_gone(keep)
    gone = {node for branch in branches for node in branch.nodes}
    free = np.zeros(len(keep), dtype=np.bool_)
    for g in channels.groups:
        free[g.units[g.free]] = True
    achieved: Any = {
        "sparsity": _share(int((free & ~keep).sum()), int(free.sum())),
        "macs_reduction": _share(before.scope_macs - after.scope_macs, before.scope_macs),
        "params_reduction": _share(before.params - after.params, before.params),
        **({} if search is None else {k: round(v, 6) for k, v in search.reached.items()}),
    }
    return {
        "schema": SCHEMA,
        "tool": this_tool(),
        "source": {"path": str(source.path or ""), "sha256": source.sha256},
        "settings": _settings(record),
        "before": _cost(before, source.bytes or size(source.proto)),
        "after": _cost(after, pruned.bytes),
        "requested": record.settings.requested,
        "achieved": achieved,
        "missed": _missed(record, achieved),
        "scope": _scope(channels, before, after),
        "layers": [
            _layer(record, layer, kept.get(layer.node), gone=layer.node in gone)
            for layer in channels.layers
        ],
        "cuts": [_tensor_cut(c) for c in record.cut.cuts],
        "rewritten": [_rewritten(r) for r in record.cut.rewrites],
        "locked": locked(channels),
        "turned": [_turned(stream, keep, channels) for stream in record.streams],
        "removed": [_removed(branch, channels) for branch in branches],
        "verification": _verification(record.verification),
        "calibration": calibration_entry(record.images),
        "without_images": None,
        "recovery": recovery_entry(record.recovery, seconds.get("recover", 0.0)),
        "rounding": _rounding(record),
        "latency": None if search is None else search.details.get("latency"),
        "drop": None if search is None else search.details.get("drop"),
        "search": None if search is None else search.details.get("search"),
        "int8": None,
        "notes": [
            *record.notes,
            *record.selection.notes,
            *(search.notes if search else ()),
            *missing(graph, channels),
            *notes_of_cut(record),
            *filter(None, [channels.sizes_found]),
        ],
        "seconds": timing(seconds),
    }


def _missed(record: PruneRecord, achieved: Mapping[str, float]) -> MissedEntry | None:
    """Why the target was missed by more than a point; None where it was not."""
    wanted, names = record.settings.reduction, list(record.settings.requested)
    if wanted is None or not names:
        return None
    reached = achieved[names[0]]
    miss = missed(
        record.graph, record.channels, record.settings, record.selection.keep, wanted, reached
    )
    if miss is None:
        return None
    less, more = (None if s is None else round(s, 6) for s in (miss.less, miss.more))
    return {"why": miss.why, "less": less, "more": more, "next_step": miss.next_step}


def _scope(channels: ChannelMap, before: Cost, after: Cost) -> ScopeEntry | None:
    """The layers that ``--include`` names, of which the reduction of MACs is; None without."""
    if channels.scope is None:
        return None
    return {"layers": len(channels.scope), "macs": [before.scope_macs, after.scope_macs]}


def _rounding(record: PruneRecord) -> dict[str, object] | None:
    """The rounding of widths, and the reduction without it, where known.

    ``exceptions`` are layers whose width does not suit: their channels are tied to others' in parts
    that allow none, or ``--layer`` says so.
    """
    settings = record.settings
    if not settings.rounding:
        return None
    exceptions = 0
    for layer in record.channels.layers:
        n, kept = len(layer.out_ids), int(record.selection.keep[layer.out_ids].sum())
        exceptions += kept not in settings.rounding.choices(n, 0)
    (asked,) = settings.requested or {"": 0.0}
    unrounded = None if settings.measures_latency else record.selection.unrounded
    return {
        "target": settings.target,
        "precision": settings.precision,
        **asdict(settings.rounding),
        "unrounded": None if unrounded is None else {asked: round(unrounded, 6)},
        "exceptions": exceptions,
    }


def calibration_entry(images: Images | None) -> CalibrationEntry | None:
    """The entry of the calibration images in the report; None where there were none."""
    if images is None:
        return None
    made = None if images.generated is None else images.generated.as_json()
    return {"images": images.n, "generated": made}


def recovery_entry(recovery: Recovery | None, seconds: float) -> RecoveryEntry | None:
    """The entry of a recovery in the report; None where there was none."""
    if recovery is None or recovery.method == "none":
        return None
    distilled = recovery.distillation
    return {
        "method": recovery.method,
        "samples": recovery.samples,
        "seconds": round(seconds, 4),
        "layers": recovery.layers,
        "error_before": recovery.error_before,
        "error_after": recovery.error_after,
        "bytes_written": recovery.written,
        "distillation": None if distilled is None else _distillation(distilled),
    }


def _distillation(distilled: Distillation) -> DistillationEntry:
    return {
        "epochs": distilled.epochs,
        "kept_epoch": distilled.epoch,
        "kept_share": distilled.share,
        "held_out": distilled.held_out,
        "loss_before": round(distilled.before, 6),
        "loss_after": round(distilled.after, 6),
    }


def with_recovery(
    report: Mapping[str, Any],
    recovery: Recovery,
    model: Model,
    seconds: float,
    images: Images | None = None,
) -> Report:
    """An earlier report, of the model as it was recovered since; notes on ``images`` come first."""
    settings, after, times = (
        dict(report.get(key) or {}) for key in ("settings", "after", "seconds")
    )
    settings["recover"] = recovery.method
    notes = () if images is None else images.notes
    after["bytes"] = model.bytes
    times["recover"] = round(seconds, 4)
    recovered: Any = {
        **report,
        "settings": settings,
        "after": after,
        "calibration": calibration_entry(images),
        "recovery": recovery_entry(recovery, seconds),
        "seconds": times,
        "notes": list(dict.fromkeys([*notes, *report.get("notes", ())])),
    }
    return cast(Report, recovered)


def with_images_instead(report: Report, instead: Instead) -> Report:
    """A report of a pruning for which no images were given; what was done about it comes first."""
    entry: InsteadEntry = {
        "taken": instead.taken,
        "why": instead.why,
        "error": instead.error and {way: round(e, 6) for way, e in instead.error.items()},
        "held_out": instead.held_out,
        "seconds": round(instead.seconds, 2),
    }
    return {**report, "without_images": entry, "notes": [instead.why, *report["notes"]]}


def with_int8(report: Report, entry: Int8Entry, notes: Sequence[Note]) -> Report:
    """A report of a pruning whose result was quantized as well."""
    settings = {**report["settings"], "then": "int8"}
    told = [*report["notes"], *notes]
    return {**report, "settings": settings, "int8": entry, "notes": told}


def timing(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of every stage, 0 where it did not run, and in total."""
    stages = {stage: round(seconds.get(stage, 0.0), 4) for stage in STAGES}
    return stages | {"total": round(sum(seconds.values()), 4)}


def locked(channels: ChannelMap) -> list[LockedEntry]:
    """Why channels of layers stay: per node and reason, how many of them."""
    made = {int(u) for layer in channels.layers for u in layer.out_ids}
    channels_by_lock: dict[tuple[str, str], set[int]] = {}
    for lock in channels.locks:
        locked_units = made.intersection(lock.ids.tolist())
        if locked_units:
            channels_by_lock.setdefault((lock.node, lock.reason), set()).update(locked_units)
    return [
        {"node": node, "channels": len(units), "reason": reason}
        for (node, reason), units in channels_by_lock.items()
    ]


def _turned(stream: Stream, keep: Bools, channels: ChannelMap) -> TurnedEntry:
    """A stream in another basis: the layers that write it, those that read it, and its axes."""
    group = next(g for g in channels.groups if g.id == stream.group)
    return {
        "group": stream.group,
        "axes": [stream.n, int(keep[group.units].sum())],
        "written_by": [writer.layer.op.name for writer in stream.writers],
        "read_by": [reader.op.name for reader in stream.readers],
    }


def _removed(branch: WholeBranch, channels: ChannelMap) -> RemovedEntry:
    """A branch that went as a whole."""
    return {
        "group": next(g.id for g in channels.groups if g.branch is branch),
        "layers": [layer.name for layer in channels.layers if layer.node in branch.nodes],
        "constants": list(branch.ends),
    }


def _settings(record: PruneRecord) -> dict[str, Any]:
    settings = record.settings.as_dict() | {"coverage": record.settings.resolved_coverage}
    for name in ("keep", "latency_table", "classes", "calibration", "method", "recover"):
        settings[name] = None if settings[name] is None else str(settings[name])
    settings["round_to"] = record.settings.rounding.multiple
    options = record.settings
    settings["min_channels"] = options.fewest_channels(by_losses=options.by_losses)
    settings["custom_ops"] = loaded()
    return settings


def _cost(measured: Cost, size: int) -> CostEntry:
    return {
        "params": measured.params,
        "macs": measured.macs,
        "bytes": size,
        "channels": measured.channels,
    }


def _share(part: int, total: int) -> float:
    return round(part / total, 6) if total else 0.0


def _layer(record: PruneRecord, layer: Layer, stay: Stay | None, *, gone: bool) -> LayerEntry:
    """A layer's widths; ``stays`` is why it kept all channels, ``stays_macs`` what a lock costs.

    One that is ``gone`` with a whole branch has no channel left.
    """
    keep = record.selection.keep
    before, after = len(layer.out_ids), 0 if gone else int(keep[layer.out_ids].sum())
    group = next(g for g in record.channels.groups if layer in [p.layer for p in g.producers])
    choice = record.selection.choices.get(group.id)
    why = None
    if after == before:
        why = stay.reason if stay is not None else "the target was reached without its channels"
    return {
        "node": layer.name,
        "weight": layer.weight,
        "op": layer.op,
        "group": group.id,
        "out_channels": [before, after],
        "sparsity": _share(before - after, before),
        "coverage": None if choice is None or gone else choice.coverage,
        "bn": layer.bn,
        "gamma_source": record.selection.gamma_source.get(layer.node),
        "stays": why,
        "stays_macs": None if stay is None else stay.macs,
    }


def _tensor_cut(cut: TensorCut) -> CutEntry:
    entry: CutEntry = {
        "initializer": cut.initializer,
        "axis": cut.axis,
        "keep": cut.keep.tolist(),
    }
    if cut.source is not None:
        entry["source"] = cut.source
    return entry


def _rewritten(rewrite: Rewrite) -> RewrittenEntry:
    before, after = rewrite.before, rewrite.after
    if rewrite.is_node:
        return {"node": rewrite.where, "before": before, "after": after}
    return {"tensor": rewrite.where, "before": before, "after": after}


def _verification(result: Verification | None) -> VerificationEntry | None:
    if result is None:
        return None
    return {
        "passed": result.passed,
        "max_abs_diff": result.max_abs_diff,
        "scale": result.scale,
        "negative_control": result.negative_control,
        "tolerance": result.tolerance,
        "runs": result.runs,
        "inputs": list(result.inputs),
        "inner": result.inner,
        "sizes": result.sizes or None,
        "branches": list(result.branches),
    }
