"""The worth of a loss in each group, learned from attempts.

An allocation minimises Σ_g c_g·E_g(k_g) with the measured curves E_g. How much of an error the
layers behind make good, and what is left of it in the outputs, the curves do not tell: c is guessed
first. Each attempt, of which the error e of the outputs is measured, tells a sum of them,

    e ≈ Σ_g c_g·E_g(k_g)

so that c is a linear regression, here with a normal prior, updated attempt by attempt (a Kalman
filter). The next attempt follows a c that is drawn from what is still possible (Thompson sampling):
early draws differ much, late ones little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reprune_onnx.types import Floats

_SPREAD = 0.25  # of the guess: the deviation of a coefficient
_NOISE = 0.03  # of the error: what the sum does not explain of it
_LEAST = 0.1  # of the guess: no coefficient is less, so that no group goes for nothing


@dataclass(frozen=True)
class Coefficients:
    """c (groups,) has the mean ``mean`` and the covariance ``spread`` (groups, groups).

    ``guess`` is what every coefficient was thought to be, ``error`` the first attempt's.
    """

    mean: Floats
    spread: Floats
    guess: float
    error: float

    @classmethod
    def first(cls, losses: Floats, error: float) -> Coefficients:
        """Return the guess that explains a first attempt, of ``losses`` (groups,), by its error."""
        n, guess = len(losses), error / (float(losses.sum()) or 1.0)
        return cls(np.full(n, guess), np.eye(n) * (_SPREAD * guess) ** 2, guess, error)

    def learned(self, losses: Floats, error: float) -> Coefficients:
        """Return what is known once an attempt of ``losses`` (groups,) had that error."""
        seen = self.spread @ losses
        gain = seen / (float(losses @ seen) + (_NOISE * self.error) ** 2)
        mean = self.mean + gain * (error - float(losses @ self.mean))
        return replace(self, mean=mean, spread=self.spread - np.outer(gain, seen))

    def drawn(self, rng: np.random.Generator) -> Floats:
        """Return coefficients (groups,) that are possible, relative to the guess."""
        values, vectors = np.linalg.eigh(self.spread)
        noise = vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(len(values)))
        drawn: Floats = np.maximum((self.mean + noise) / self.guess, _LEAST)
        return drawn
