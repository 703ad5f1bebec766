"""Notice a ``--preprocess`` that is not the one a file was trained with.

A wrong one stops nothing: layers are fitted, a model is written, and it is bad. What a file tells:

* a live BatchNormalization states the mean and variance of what it was fed in training;
* a classifier whose BatchNormalization was folded away knows more of its own kind of images: more
  labels are right, or, without labels, its answers are surer and differ more from each other;
* biases that took in a BatchNormalization are about as large as what they are added to.

Only what is sure is said, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from reprune_onnx.activations.evidence import (
    BIASES,
    BIASES_FIT,
    AnswersEvidence,
    BiasEvidence,
    StatisticsEvidence,
    information,
    most_information,
)
from reprune_onnx.data.alternatives import Pixels, alternatives, drawn, misread, pixels, swapped
from reprune_onnx.data.dataset import Dataset
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.data.target import DataInput
from reprune_onnx.errors import RepruneError
from reprune_onnx.note import Note
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.image_input import image_input
from reprune_onnx.types import Bools, Floats, Ints, Model

_IMAGES = 64
_AT_FIRST, _CLOSER = 16, 3  # images for all alternatives, and how many are looked at closer
_WITHOUT_LABELS = 32
_FAR, _NEAR, _NEARER = 0.2, 0.25, 0.4  # misfit of what is given, of a better one, and their ratio
_NEARER_BIASES = 0.6  # the ratio for the misfit of biases, which never comes near to 0
_SURE = 3.0  # standard deviations between the numbers of right answers
_LESS = 0.85  # of the information that another one gives
_PLENTY = 0.9  # of the most information that there could be
_MUCH = 0.5  # of that most
_MOSTLY = 0.5  # of the labels are right: they are the model's own


@dataclass(frozen=True)
class _Finding:
    """``better`` is None where what is given fits."""

    better: Preprocess | None
    why: str = ""


def better_preprocess(
    proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], data: Dataset
) -> Note | None:
    """Return one line that names a ``--preprocess`` which fits the file better; None if none does.

    At most 64 images are looked at. Nothing that goes wrong here stops a run.
    """
    try:
        some = pixels(data, _IMAGES)
        if some is None:
            return None
        model = Model(as_float32(proto))
        seen = _from_model(model, image_input(model.proto, shapes), some)
        if seen is None:
            seen = _Finding(misread(some), "the values of the images are scaled twice, or never")
    except (RepruneError, MemoryError, OSError):  # the run itself says what is wrong
        return None
    if seen.better is None:
        return None
    return Note(
        f"the images fit this file better with --preprocess {_quoted(seen.better)} than with"
        f" {_quoted(data.preprocess)}: {seen.why}"
    )


def _quoted(how: Preprocess) -> str:
    text = str(how)
    return f"'{text}'" if ";" in text else text


def _from_model(model: Model, port: DataInput, some: Pixels) -> _Finding | None:
    """The finding by the model's statistics, or else its answers or biases; None if none tells."""
    statistics = StatisticsEvidence(model, port)
    if statistics.names:
        return _by_statistics(statistics, some)
    try:
        answers = AnswersEvidence(model)
        return _by_answers(answers, some)
    except RepruneError:  # no classifier, or values that it makes NaN of
        return _by_biases(BiasEvidence(model, port), some)


def _by_statistics(statistics: StatisticsEvidence, some: Pixels) -> _Finding | None:
    x = some.some(_WITHOUT_LABELS)
    given = statistics.misfit(x.fed(some.preprocess))
    if given < _FAR:
        return _Finding(None)
    tried = [(statistics.misfit(x.fed(how)), how) for how in alternatives(some)]
    if not tried:
        return None
    best, how = min(tried, key=lambda each: each[0])
    if best > min(_NEAR, _NEARER * given):
        return None
    names = ", ".join(f"'{name}'" for name in statistics.names)
    return _Finding(
        how,
        f"it gives BatchNormalization {names} the means and variances that the file states"
        f" (misfit {best:.2f} instead of {given:.2f})",
    )


def _by_biases(biases: BiasEvidence, some: Pixels) -> _Finding | None:
    if biases.layers < BIASES:
        return None
    x = some.some(_WITHOUT_LABELS)
    given = biases.misfit(x.fed(some.preprocess))
    tried = [(biases.misfit(x.fed(how)), how) for how in alternatives(some)]
    best, how = min(tried, key=lambda each: each[0], default=(np.inf, None))
    if best > min(BIASES_FIT, _NEARER_BIASES * given):
        return None if given > BIASES_FIT else _Finding(None)
    return _Finding(
        how,
        f"its biases are then as large as what they are added to (misfit {best:.2f} instead of"
        f" {given:.2f})",
    )


def _by_answers(answers: AnswersEvidence, some: Pixels) -> _Finding | None:
    given = answers.probabilities(some.fed(some.preprocess))
    y = _labels(some, given.shape[1])
    if y is None:
        return _by_information(answers, some.some(_WITHOUT_LABELS))
    right = given.argmax(axis=1) == y
    few = given[drawn(len(given), _WITHOUT_LABELS)]
    settled = information(few) > _PLENTY * most_information(few)
    if right.mean() > 1 - _SURE**2 / len(right) or (settled and right.mean() >= _MOSTLY):
        return _Finding(None)  # too few more could be right for this not to be chance
    look = _FirstLook(answers, some)
    closer = look.best(lambda p, at: int((p.argmax(axis=1) == y[at]).sum()))
    tried = [(how, answers.probabilities(some.fed(how))) for how in closer]
    more = _most_right(right, y, tried)
    if more is None and right.mean() < _MOSTLY:  # labels of others, or in another order
        return _by_information(answers, some.some(_WITHOUT_LABELS), look)
    return more or _Finding(None)


def _by_information(
    answers: AnswersEvidence, some: Pixels, look: _FirstLook | None = None
) -> _Finding | None:
    given = answers.probabilities(some.fed(some.preprocess))
    telling, ceiling = information(given), most_information(given)
    if telling > _LESS * ceiling:
        return _Finding(None)
    closer = (look or _FirstLook(answers, some)).best(lambda p, at: information(p))
    tried = [(information(answers.probabilities(some.fed(how))), how) for how in closer]
    best, how = max(tried, key=lambda each: each[0], default=(0.0, None))
    if best < _MUCH * ceiling or telling > _LESS * best:
        return None
    return _Finding(
        how, f"the answers are surer and differ more ({best:.2f} nats instead of {telling:.2f})"
    )


class _FirstLook:
    """The answers to a few images in all alternatives; the best are then tried on more images."""

    def __init__(self, answers: AnswersEvidence, some: Pixels) -> None:
        self._at = drawn(len(some.x), _AT_FIRST)
        few = some.some(_AT_FIRST)
        self._given = answers.probabilities(few.fed(some.preprocess))
        self._tried = [(how, answers.probabilities(few.fed(how))) for how in _with_colors(some)]

    def best(self, score: Callable[[Floats, Ints], float]) -> list[Preprocess]:
        """The alternatives whose answers (n, classes) for the images ``at (n,)`` are worth most.

        Only those that are worth more than the answers to what is given.
        """
        least = score(self._given, self._at)
        ranked = sorted(((score(p, self._at), how) for how, p in self._tried), key=lambda e: -e[0])
        return [how for value, how in ranked[:_CLOSER] if value > least]


def _labels(some: Pixels, classes: int) -> Ints | None:
    """The labels of the images, where they may be the model's classes."""
    y = some.y
    if y is None or y.ndim != 1 or y.dtype.kind not in "iu":
        return None
    return y if y.min() >= 0 and y.max() < classes else None


def _with_colors(some: Pixels) -> tuple[Preprocess, ...]:
    channels = some.x.shape[some.channels]
    in_order = alternatives(some)
    turned = (swapped(how, channels) for how in (some.preprocess, *in_order))
    return tuple(dict.fromkeys([*in_order, *(how for how in turned if how is not None)]))


def _most_right(right: Bools, y: Ints, tried: list[tuple[Preprocess, Floats]]) -> _Finding | None:
    """The alternative that has surely more right answers, by the images on which it differs."""
    counts = [(int((p.argmax(axis=1) == y).sum()), k) for k, (_, p) in enumerate(tried)]
    if not counts:
        return None
    most, k = max(counts, key=lambda each: (each[0], -each[1]))
    how, p = tried[k]
    also = p.argmax(axis=1) == y
    gained, lost = int((also & ~right).sum()), int((right & ~also).sum())
    always = np.bincount(y).max() / len(y)  # what one answer to everything would get
    blind = len(y) * always + _SURE * np.sqrt(len(y) * always * (1 - always))
    if most < blind or gained - lost < _SURE * np.sqrt(gained + lost) or not gained:
        return None
    return _Finding(
        how, f"{most} of the labels of {len(y)} images are right instead of {int(right.sum())}"
    )
