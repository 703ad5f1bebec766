"""Average precision of a ranking, as scikit-learn defines it.

AP = Σ_k (R_k − R_{k−1}) P_k over the thresholds k, from the highest score down: precision and
recall of everything that scores at least as much. Equal scores share a threshold, so their order
does not matter.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.types import Floats


def average_precision(scores: Floats, wanted: Floats) -> float | None:
    """The average precision of ``scores`` (n,) for ``wanted`` (n,) of 0 and 1; None without a 1.

    >>> average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    0.8333333333333333
    """
    total = float(wanted.sum())
    if not total:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(wanted[order])
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # the end of each run of equals
    precision, recall = hits[last] / (last + 1), hits[last] / total
    return float((np.diff(recall, prepend=0.0) * precision).sum())
