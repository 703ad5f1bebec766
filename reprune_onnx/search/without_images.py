"""Pruning where no images are given: with images that a formula makes, where these do better.

Two ways are tried. *Data-free* goes by the file alone. *Generated* measures losses and refits
layers on images by formula, which `Settings(calibration="generated")` does when it is asked for.
Which of them is better is told by images that nothing was fitted to, and that need no label: the
one whose outputs are nearer to the original's,

    error = Σ(b - a)²/Σ(a - ā)²        (`output_error`)

is taken. Where generated images would mean nothing to a model, or cost too much, data-free it is,
and the reason is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from reprune_onnx.activations.evidence import tells_of_images
from reprune_onnx.activations.generated.make import Generated
from reprune_onnx.activations.images import HELD_OUT
from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.op_kinds import FITTED
from reprune_onnx.errors import DataError, ModelError, SelectionError, VerificationError
from reprune_onnx.note import Note
from reprune_onnx.pruner.knowledge import measure
from reprune_onnx.pruner.measure import cost
from reprune_onnx.recovery.output_error import output_errors
from reprune_onnx.results import Instead, Measured, Pruned, Subject
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.settings import Settings
from reprune_onnx.watch import Watch

_MACS = 24_000_000_000  # of one run on all images: a plain pruning is to stay cheap
_FEWEST, _MOST = 24, 128  # images; a third of them is held out to judge by
_LARGEST = 40_000_000_000  # multiply-adds for one image, beyond which fewest are too many,
_WITH_WIDE, _WIDE = 8_000_000_000, 16_384  # or where a layer reads so many inputs
_ENOUGH = 0.9  # of the other way's error: what is fitted to such images looks better on them

Run = Callable[[Measured, Settings], Pruned]


def without_images(
    subject: Subject, settings: Settings, watch: Watch, run: Run
) -> tuple[Pruned, Instead, Measured | None]:
    """Prune by ``run`` in both ways, or in one where the other means nothing, and take the better.

    ``run`` prunes with what was measured, and proves the cut where its settings say so; that is
    done of the way that is taken. What generated images showed comes with it, where they serve.
    Raises DataError where they do not, and the result is to be quantized on images.
    """
    then, settings = settings.then, replace(settings, then=None)
    by_file = replace(settings, recover="data-free")
    measured = measure(subject, by_file, watch)
    start = time.process_time()
    try:
        by_images = replace(settings, calibration=f"generated:{_images(subject, settings)}")
        first = run(measured, replace(by_file, verify=False))
        start = time.process_time()
        if not first.report["cuts"]:
            raise DataError("nothing was cut")
        seen = measure(subject, by_images, watch, hold_out=True)
        generated = _sure(seen)
        seen = _told_shortly(seen, generated)
        second = run(seen, by_images)
        error = _errors(subject, {"data-free": first, "generated": second}, seen)
    except (DataError, ModelError, SelectionError, VerificationError) as problem:
        # data-free chooses other channels and is proven by itself; the note keeps this reason
        why = Note(f"no image was given, and generated ones do not serve: {problem}")
        if then is not None:
            raise DataError(
                f"--then int8 measures ranges on images: {why}; give some hundreds of your own with"
                " --calibration"
            ) from problem
        seconds = time.process_time() - start
        return run(measured, by_file), Instead("data-free", why, seconds=seconds), None
    seconds = time.process_time() - start
    assert seen.held_out is not None
    made, off = _made(generated, seen), f"on {seen.held_out.n} others the error of the outputs is"
    with_them, without = (f"{error[way]:.2g}" for way in ("generated", "data-free"))
    hint = "your own images do better (--calibration)"
    if error["generated"] < _ENOUGH * error["data-free"]:
        taken, pruned = "generated", second
        why = Note(
            f"{made}; {off} {with_them} of their variance, and {without} without them; {hint}"
        )
    else:
        taken, pruned = "data-free", run(measured, by_file)
        why = Note(
            f"{made}, but not used: {off} {with_them} of their variance, and {without} without"
            f" them; {hint}"
        )
    return pruned, Instead(taken, why, error, seen.held_out.n, seconds), seen


def _images(subject: Subject, settings: Settings) -> int:
    """The number of images that are worth their time; DataError or ModelError where none is."""
    port = image_input(subject.flat.proto, dict(settings.input_shapes))
    if not tells_of_images(subject.flat):
        raise DataError(
            "nothing in the file tells which values its images have (--calibration generated"
            " assumes 0 to 1)"
        )
    macs = cost(subject.graph, subject.channels).macs
    if macs > (_WITH_WIDE if _widest(subject) > _WIDE else _LARGEST):
        raise DataError(
            f"one image takes {macs / 1e9:.1f} billion multiply-adds, and a plain pruning is to"
            " take little time (--calibration generated takes more)"
        )
    n = min(_MOST, max(_FEWEST, _MACS // max(1, macs)))
    batch = port.shape[0] if port.shape else None
    return max(n, HELD_OUT * batch) if batch else n


def _widest(subject: Subject) -> int:
    """The most inputs of a layer: their moments take memory by the square, and time by the cube."""
    fitted = (layer for layer in subject.channels.layers if layer.op in FITTED)
    layers = (Linear(subject.graph.ops[layer.node], layer.shape) for layer in fitted)
    return max((layer.fan_in for layer in layers), default=0)


def _sure(seen: Measured) -> Generated:
    """The images that were made; DataError where their range is not sure."""
    assert seen.images is not None and seen.images.generated is not None
    generated = seen.images.generated
    if not generated.range.sure:
        raise DataError(
            f"in which range it takes images is not sure, {generated.range.evidence}"
            " (--preprocess says it)"
        )
    return generated


def _told_shortly(seen: Measured, generated: Generated) -> Measured:
    """The same without the lines of those who asked for such images: one line is said here."""
    assert seen.images is not None
    notes = seen.images.notes[len(generated.notes) :]
    return replace(seen, images=replace(seen.images, notes=notes))


def _errors(subject: Subject, ways: dict[str, Pruned], seen: Measured) -> dict[str, float]:
    """The errors of the outputs on held-out images; DataError where these tell nothing."""
    assert seen.held_out is not None
    models = [head_of(pruned.model) for pruned in ways.values()]
    measured = dict(zip(ways, output_errors(subject.model, models, seen.held_out), strict=True))
    errors = {way: error for way, error in measured.items() if error is not None}
    if errors.keys() < measured.keys():
        raise DataError("the outputs are the same for all of them, or not finite")
    return errors


def _made(generated: Generated, seen: Measured) -> str:
    assert seen.images is not None
    how = f"--preprocess {generated.range.quoted}, {_BY[generated.range.by]}"
    return (
        f"no image was given, so {seen.images.n} were made by formula"
        f" ({generated.recipe.title}) and fed as by {how}"
    )


_BY = {
    "given": "which was given",
    "type": "as its input holds whole numbers",
    "statistics": "which fits the statistics of its BatchNormalizations best",
    "biases": "which its biases fit best",
    "answers": "to which its answers are surest",
}
