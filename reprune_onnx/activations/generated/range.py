"""The values that a model takes: preprocessing is not in the file, but leaves its marks there.

Generated images are fed in all usual ways (0–1, ±1, 0–255, less a mean and over a deviation):

* a BatchNormalization states the mean and variance of what it was fed in training, so the way is
  the one with the least misfit (`StatisticsEvidence`);
* where BatchNormalizations were folded away, the biases take away the means of what layers made in
  training, and are about as large as that varied (`BiasEvidence`);
* a classifier whose biases do not tell, or ways that fit alike, are told by the answers: on images
  that it can read a network is sure of some, and says different things of different ones,

      score = H(mean p) + (H(mean p) - mean H(p))

  where values that are far too large make it sure of everything, but always of the same.

Whether red or blue comes first cannot be told: generated colours are as often one as the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reprune_onnx.activations.evidence import (
    BIASES,
    BIASES_FIT,
    AnswersEvidence,
    BiasEvidence,
    StatisticsEvidence,
    information,
)
from reprune_onnx.data.alternatives import Pixels, alternatives
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.data.target import DataInput
from reprune_onnx.errors import RepruneError
from reprune_onnx.types import Floats, Model

_NORMS = 8  # early ones tell the range, later ones also how images differ from photographs
_ALIKE = 1.3  # times the least misfit: ways that statistics do not tell apart
_FITS = 0.5  # a misfit beyond which no usual way is what the file was trained with


@dataclass(frozen=True)
class Range:
    """The ``preprocess`` of 8-bit values that a model is taken to want, and by what ``evidence``.

    ``by`` is "given", "type", "statistics", "biases", "answers" or "nothing". It is ``sure`` unless
    nothing tells, or no usual way fits.
    """

    preprocess: Preprocess
    by: str
    evidence: str
    sure: bool = True

    @property
    def quoted(self) -> str:
        """The value of ``--preprocess``, for a shell."""
        text = str(self.preprocess)
        return f"'{text}'" if ";" in text else text


def find_range(model: Model, port: DataInput, some: Pixels) -> Range:
    """Return the usual way of feeding 8-bit images that fits the model best.

    ``some`` are a few generated images, whose own preprocessing is the one that is assumed where
    nothing in the file tells.
    """
    ways = [some.preprocess, *alternatives(some)]
    if port.dtype.kind != "f":
        return Range(some.preprocess, "type", f"its input holds {port.dtype.name}")
    statistics = StatisticsEvidence(model, port, _NORMS)
    if statistics.names:
        return _by_statistics(model, statistics, some, ways)
    by_biases = _by_biases(model, port, some, ways)
    if by_biases is not None:
        return by_biases
    by_answers = _answers(model, some)
    if by_answers is None:
        return Range(
            some.preprocess, "nothing", "nothing in the file tells, so it is assumed", False
        )
    scores = {how: by_answers(how) for how in ways}
    how = max(scores, key=scores.__getitem__)
    return Range(
        how,
        "answers",
        f"its answers are then surest and differ most ({scores[how]:.2f} nats,"
        f" {_others(scores, how)})",
    )


def _by_statistics(
    model: Model, statistics: StatisticsEvidence, some: Pixels, ways: Sequence[Preprocess]
) -> Range:
    misfits = {how: statistics.misfit(some.fed(how)) for how in ways}
    best = _nearest(misfits, model, some)
    names = " to ".join(
        f"'{name}'" for name in dict.fromkeys((statistics.names[0], statistics.names[-1]))
    )
    fits = misfits[best] < _FITS
    doubt = "" if fits else "; no usual way fits, so give --preprocess"
    return Range(
        best,
        "statistics",
        f"it gives BatchNormalization {names} nearest to the means and variances that the file"
        f" states (misfit {misfits[best]:.2f}, {_others(misfits, best)}){doubt}",
        fits,
    )


def _by_biases(
    model: Model, port: DataInput, some: Pixels, ways: Sequence[Preprocess]
) -> Range | None:
    """The range by the biases; None where they are few, or no usual way fits."""
    biases = BiasEvidence(model, port)
    if biases.layers < BIASES:
        return None
    misfits = {how: biases.misfit(some.fed(how)) for how in ways}
    if min(misfits.values()) > BIASES_FIT:
        return None
    how = _nearest(misfits, model, some)
    return Range(
        how,
        "biases",
        f"what the first of its {biases.layers} layers with biases make then lies nearest around"
        f" zero and is as large as these (misfit {misfits[how]:.2f}, {_others(misfits, how)})",
    )


def _nearest(misfits: dict[Preprocess, float], model: Model, some: Pixels) -> Preprocess:
    """The way of the least misfit; of those that are alike the one with the surest answers."""
    least = min(misfits.values())
    alike = [how for how, misfit in misfits.items() if misfit <= _ALIKE * least]
    by_answers = _answers(model, some) if len(alike) > 1 else None
    if by_answers is None:
        return min(misfits, key=misfits.__getitem__)
    return max(alike, key=by_answers)


def _others(scores: dict[Preprocess, float], best: Preprocess) -> str:
    others = (f"'{how}' {value:.2f}" for how, value in scores.items() if how != best)
    return "others " + ", ".join(others)


def _answers(model: Model, some: Pixels) -> Callable[[Preprocess], float] | None:
    """A score of what a classifier answers to images that are fed in a way; None of others."""
    try:
        evidence = AnswersEvidence(model)
        first = _score(evidence.probabilities(some.fed(some.preprocess)))
    except RepruneError:  # no classifier
        return None
    scores = {some.preprocess: first}

    def score(how: Preprocess) -> float:
        if how not in scores:
            try:
                scores[how] = _score(evidence.probabilities(some.fed(how)))
            except RepruneError:  # values that it makes NaN of
                scores[how] = -np.inf
        return scores[how]

    return score


def _score(p: Floats) -> float:
    mean = p.mean(axis=0)
    spread = float(-(mean * np.log(np.maximum(mean, 1e-12))).sum())
    return spread + information(p)
