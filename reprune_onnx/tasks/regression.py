"""Numbers: how far they are off; of images also the peak signal-to-noise ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from reprune_onnx.data.source import Answers
from reprune_onnx.tasks.tally import Scores


@dataclass
class ErrorTally:
    """Numbers (b, …) against numbers of the same shape; NaN where one is not known.

    With e = answer − wanted over all known numbers: ``rmse`` = √mean(e²), ``mae`` = mean|e|,
    ``relative_error`` = √(Σe² / Σwanted²), ``r2`` = 1 − Σe² / Σ(wanted − mean)² (over all outputs
    together). ``psnr``, of images (b, ·, ·, ·) only, is the mean over the images of
    10 log₁₀(peak² / mean(e²)) in dB; an image without any error counts as 100 dB. ``prefix`` is put
    before every name.
    """

    prefix: str = ""
    peak: float = 1.0
    sums: Answers = field(default_factory=lambda: np.zeros(5))
    psnr: float = 0.0
    images: int = 0

    def add(self, answers: Answers, wanted: Answers) -> None:
        """Take in a batch."""
        y, t = np.asarray(answers, np.float64), np.asarray(wanted, np.float64)
        labelled = np.isfinite(t)
        e, seen = np.where(labelled, y - np.where(labelled, t, 0), 0), t[labelled]
        squares = (e**2).reshape(len(e), -1)
        self.sums += (labelled.sum(), np.abs(e).sum(), squares.sum(), (seen**2).sum(), seen.sum())
        if t.ndim == 4:
            counts = labelled.reshape(len(e), -1).sum(axis=1)
            error = np.maximum(squares.sum(axis=1) / np.maximum(counts, 1), self.peak**2 * 1e-10)
            self.psnr += float((10 * np.log10(self.peak**2 / error)).sum())
            self.images += len(t)

    def merge(self, other: ErrorTally) -> None:
        """Take in another's sums."""
        self.sums = self.sums + other.sums
        self.psnr += other.psnr
        self.images += other.images

    def scores(self) -> Scores:
        """The errors; None where nothing is known, and of what the numbers do not allow."""
        n, absolute, square, size, total = (float(v) for v in self.sums)
        spread = size - total**2 / n if n else 0.0
        scores = {
            "rmse": math.sqrt(square / n) if n else None,
            "mae": absolute / n if n else None,
            "relative_error": math.sqrt(square / size) if size else None,
            "r2": 1 - square / spread if spread > 1e-12 * size else None,
            "psnr": self.psnr / self.images if self.images else None,
        }
        return {f"{self.prefix}{key}": value for key, value in scores.items()}
