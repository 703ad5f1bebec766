"""The knowledge for allocation and selection: |γ|, and measurements on calibration images."""

from __future__ import annotations

from dataclasses import replace

from reprune_onnx.activations.images import Images, images_to_fit
from reprune_onnx.activations.measurable import measurable, told
from reprune_onnx.pruner.calibrate import layer_statistics
from reprune_onnx.pruner.gamma import channel_gammas
from reprune_onnx.pruner.select import criterion
from reprune_onnx.pruner.selection import select_at
from reprune_onnx.pruner.sensitivity.curves import Ways, measure_losses
from reprune_onnx.results import Knowledge, Measured, Subject
from reprune_onnx.settings import Settings
from reprune_onnx.streams.find import linear_streams
from reprune_onnx.types import Model
from reprune_onnx.watch import Watch


def measure(
    subject: Subject, settings: Settings, watch: Watch, *, hold_out: bool = False
) -> Measured:
    """Read the calibration images, and learn what every attempt at the subject needs to know.

    With ``hold_out`` some of the images are kept back to measure on. A selection that was made
    before, ``settings.keep``, needs no knowledge.
    """
    flat, graph, channels = subject.flat, subject.graph, subject.channels
    images, held_out = None, None
    if settings.calibration is not None:
        with watch.stage("load"):
            images = images_to_fit(flat.proto, settings, watch.progress)
        if hold_out:
            images, held_out = images.split()
    knowledge = Knowledge({})
    if settings.keep is None:
        with watch.stage("allocate"):
            seen = flat
            if images is not None:
                seen = measurable(flat, images.batches)
                images = replace(images, notes=(*images.notes, *told(seen, graph, channels)))
            knowledge = _knowledge(seen, subject, settings, images, watch)
    return Measured(subject, knowledge, images, held_out)


def _knowledge(
    model: Model, subject: Subject, settings: Settings, images: Images | None, watch: Watch
) -> Knowledge:
    """The |γ| of channels, and the energies and losses that the settings ask for."""
    graph, channels = subject.graph, subject.channels
    if images is None:
        gammas, sources = channel_gammas(graph, channels, {})
        return Knowledge(gammas, gamma_source=sources)
    energies = settings.resolved_coverage == "energy"
    statistics = layer_statistics(model, graph, channels, images, energies, watch.progress)
    gammas, sources = channel_gammas(graph, channels, statistics.deviation)
    knowledge = Knowledge(gammas, statistics.energy, gamma_source=sources)
    needs = criterion(settings.method).needs
    if settings.by_losses or needs != "weights":
        at = select_at(graph, channels, settings, knowledge)
        # the float network of a quantized model is put back in form: it keeps its basis
        turns = settings.turns and subject.quantized is None
        ways = Ways(at, needs != "weights", linear_streams(graph, channels) if turns else {})
        losses = measure_losses(model, graph, channels, images, ways, watch.progress)
        knowledge = replace(knowledge, losses=losses)
    return knowledge
