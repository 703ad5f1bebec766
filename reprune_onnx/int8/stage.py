"""`prune --then int8`: the pruned model in int8, and what each of the two steps costs.

The pruned network is quantized (`quantizer`), layers that int8 costs most stay in float
(`sensitive`), and biases and scales are corrected (`correct`). The original is quantized in the
same way, so that four models can be compared on images that nothing was fitted to: float, pruned,
int8, and both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from reprune_onnx.activations.images import HELD_OUT, Images
from reprune_onnx.analyzer.quantized import counted, quantized_nodes
from reprune_onnx.data.source import rows
from reprune_onnx.errors import DataError, ModelError, UsageError, VerificationError
from reprune_onnx.int8.correct import corrected
from reprune_onnx.int8.error import Reference
from reprune_onnx.int8.quantizer import calibrated
from reprune_onnx.int8.sensitive import Mixed, mixed
from reprune_onnx.latency.interleaved import Turns, in_turns
from reprune_onnx.model import size
from reprune_onnx.note import Note
from reprune_onnx.precision import HALF, as_float32
from reprune_onnx.report.fields import Int8Entry, Int8LayerEntry, Int8RowEntry
from reprune_onnx.runtime.ort import Session
from reprune_onnx.search.score import score, title
from reprune_onnx.settings import Settings
from reprune_onnx.targets import read_target
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

_FEWEST = 8  # images
_WRONG = 1.0  # of the outputs' variance: their mean would be as near
_LATENCY = Turns(seconds=2.0, fewest=5, most=200, warm_up=0.2)


@dataclass(frozen=True)
class InInt8:
    """A model in int8: which layers are ``mixed`` in float, and its ``error`` on other images."""

    model: Model
    mixed: Mixed
    error: float | None


@dataclass(frozen=True)
class Quantized:
    """The pruned model in int8, what the report says of it, and ``notes``."""

    model: Model
    entry: Int8Entry
    notes: tuple[Note, ...]


def check_int8(model: Model, settings: Settings) -> None:
    """Raise an error where ``--then int8`` cannot be done, before anything is computed.

    ModelError for a model that is not in float32, UsageError for a target that wants another form.
    """
    nodes = quantized_nodes(model.proto)
    if nodes:
        raise ModelError(
            f"the model is quantized already ({counted(nodes)}): leave --then int8 out, and what is"
            " pruned stays in int8"
        )
    if as_float32(model.proto, HALF) is not model.proto:
        raise ModelError(
            "--then int8 quantizes float32, and the model has values in float16, bfloat16 or"
            " float64: export it in float32, or leave --then out"
        )
    if settings.target is None:
        return
    target = read_target(settings.target)
    if target.build.builder != "onnxruntime":
        raise UsageError(
            f"--then int8 writes a file for ONNX Runtime, and {target.name} builds engines with"
            f" TensorRT: prune without --then, then reprune-onnx convert --target {target.name}"
            " --precision int8 --calibration DATA"
        )
    target.precision("int8")


def check_held_out(held_out: Images) -> None:
    """Raise DataError where too few images are left to compare models on."""
    if held_out.n < _FEWEST:
        raise DataError(
            f"--then int8 compares on a third of the images, which is {held_out.n}: give at least"
            f" {HELD_OUT * _FEWEST}, better some hundreds (--calibration, --calibration-size)"
        )


def quantize_pruned(
    original: Model,
    pruned: Model,
    images: Images,
    held_out: Images,
    settings: Settings,
    progress: Progress | None = None,
) -> Quantized:
    """Quantize ``pruned``, and compare it with three others on images that are ``held_out``.

    Ranges are measured and biases corrected on ``images``. Raises ModelError where ONNX Runtime
    cannot quantize the model, and VerificationError where nothing is left of its outputs.
    """
    both = in_int8(pruned, images, held_out, progress)
    check_made(both)
    alone = in_int8(original, images, held_out, progress)
    models = {"float": original, "pruned": pruned, "int8": alone.model, "pruned int8": both.model}
    judge = Reference(original, held_out)
    ms = _latencies(models, held_out)
    scores = _scores(models, original, held_out, settings)
    entries: list[Int8RowEntry] = [
        {
            "model": name,
            "score": None if scores is None else scores[name],
            "error": judge.error_of(model),
            "bytes": size(model.proto),
            "ms": ms[name],
        }
        for name, model in models.items()
    ]
    entry: Int8Entry = {
        "measure": None if scores is None else title(held_out, settings),
        "images": images.n,
        "held_out": held_out.n,
        "rows": entries,
        "layers": _layers(both.mixed),
        "error": both.error,
        "errors": {str(k): error for k, error in both.mixed.errors.items()},
    }
    return Quantized(both.model, entry, tuple(notes_of(entry)))


def in_int8(
    model: Model, images: Images, held_out: Images, progress: Progress | None = None
) -> InInt8:
    """Quantize one model for ONNX Runtime's CPU; ``error`` is that on ``held_out``."""
    quantizer = calibrated(model, images, "onnxruntime")
    chosen = mixed(quantizer, held_out, progress)
    judge = Reference(quantizer.ready, held_out)
    ways = (chosen.model, corrected(quantizer.ready, chosen.model, images, progress))
    errors = [judge.error_of(way) for way in ways]
    best = int(np.nanargmin([np.nan if e is None else e for e in errors])) if any(errors) else 1
    return InInt8(with_metadata_of(model, ways[best]), chosen, errors[best])


def with_metadata_of(model: Model, quantized: Model) -> Model:
    """The quantized model with the metadata of the model that it was made from."""
    proto = onnx.ModelProto()
    proto.CopyFrom(quantized.proto)
    del proto.metadata_props[:]
    proto.metadata_props.extend(model.proto.metadata_props)
    return Model(proto, model.path, "", size(proto))


def check_made(made: InInt8) -> None:
    """Raise an error for a file that is no model, or does not compute what the network does."""
    if not quantized_nodes(made.model.proto):
        raise ModelError(
            "ONNX Runtime quantizes none of the model's nodes, so nothing of it would be int8:"
            " leave --then out"
        )
    try:
        onnx.checker.check_model(made.model.proto)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())[:300]
        raise VerificationError(f"the model in int8 is no valid ONNX file: {reason}") from error
    if made.error is not None and not made.error < _WRONG:
        raise VerificationError(
            f"int8 changes the outputs by {made.error:.2g} of their variance on held-out images,"
            " so that nothing of them is left: it is not written; leave --then out, or give more"
            " images (--calibration), fed as the model takes them (--preprocess)"
        )


def _scores(
    models: Mapping[str, Model], original: Model, held_out: Images, settings: Settings
) -> dict[str, float] | None:
    """The points of every model, as the task has it; None for what is no classifier."""
    try:
        return {name: score(m, original, held_out, settings) for name, m in models.items()}
    except ModelError:
        if settings.task != "classification":
            raise
        return None


def _latencies(models: Mapping[str, Model], held_out: Images) -> dict[str, float]:
    """The median milliseconds of a run in ONNX Runtime here: of one image where that is allowed."""
    first = held_out.batches[0]
    runs = []
    for model in models.values():
        session = Session(model.proto, optimize=True, use="in turns")
        static = any(port.shape and port.shape[0] not in (None, 1) for port in session.inputs)
        n = rows(first) if static else 1
        runs.append(session.bind({name: array[:n] for name, array in first.items()}).run)
    times = np.median(in_turns(runs, _LATENCY), axis=0)
    return {name: round(1e3 * float(t), 4) for name, t in zip(models, times, strict=True)}


def _layers(chosen: Mixed) -> list[Int8LayerEntry]:
    return [
        {"node": x.layer, "loss": x.loss, "in_float": x.layer in chosen.in_float}
        for x in chosen.losses
    ]


def notes_of(entry: Mapping[str, Any]) -> list[Note]:
    """The sentences of an entry of the report: what stays in float, and what is missing."""
    notes = []
    floats = [x["node"] for x in entry["layers"] if x["in_float"]]
    if floats:
        n = len(floats)
        notes.append(
            Note(
                f"{n} of {len(entry['layers'])} layers, such as {floats[0]}, stay{'s' * (n == 1)}"
                " in float, as int8 costs most there"
            )
        )
    if entry["measure"] is None:
        notes.append(
            Note(
                "the model is no classifier, so that its rows have no score: --task says what is"
                " measured"
            )
        )
    return notes
