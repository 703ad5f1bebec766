"""The report of a pruning that training was part of, and the proof of its cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.pruner.earlier import keep_by_cuts
from reprune_onnx.report.fields import Report
from reprune_onnx.report.record import build_report, stamp
from reprune_onnx.results import CutNetwork, PruneRecord, TensorCut
from reprune_onnx.settings import Settings
from reprune_onnx.subject import scope_of
from reprune_onnx.surgeon import cut
from reprune_onnx.types import Choice, GammaSource, Model, Selection
from reprune_onnx.verification.cut import check, verify_cut
from reprune_onnx.watch import Progress


@dataclass(frozen=True)
class Decided:
    """The cuts, their settings, and the known facts of the choice per group."""

    settings: Settings
    cuts: Sequence[TensorCut]
    choices: dict[int, Choice]
    sources: dict[int, GammaSource]


def cut_and_prove(
    source: Model, full: Model, decided: Decided, progress: Progress | None = None
) -> tuple[Model, Report]:
    """Cut ``full``, which has all channels, and prove the cut; the model and the report.

    ``source`` is the file that the report is about. Raises VerificationError where the cut cannot
    be proven.
    """
    settings = decided.settings
    graph = graph_of(full)
    channels = channels_of(graph, scope_of(settings))
    tensors = {site.tensor for site in channels.sites}
    cuts = [c for c in decided.cuts if (c.source or c.initializer) in tensors]
    keep = keep_by_cuts(graph, channels, cuts, "the trained model")
    result = cut(full, graph, channels, keep)
    verification = None
    if settings.verify:
        verification = verify_cut(CutNetwork(graph, channels, keep, result.model), progress)
        check(verification)
    selection = Selection(keep, decided.choices, decided.sources)
    record = PruneRecord(source, graph, channels, settings, selection, result, verification)
    stamped = stamp(record)
    return stamped, build_report(record, stamped, {})
