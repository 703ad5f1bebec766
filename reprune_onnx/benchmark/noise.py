"""The error that rounding may make in a network's outputs, found by trying."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.op_kinds import PRODUCTS
from reprune_onnx.benchmark.backends import Arrays
from reprune_onnx.benchmark.difference import Results, difference
from reprune_onnx.model import load
from reprune_onnx.recovery.values import with_values
from reprune_onnx.runtime.ort import Session

_STEP = 2.0**-21  # of a weight: eight times what float32 rounds it by
_TRIALS = 3


def rounding_noise(path: Path, feeds: Arrays, expected: Results) -> float:
    """The largest change of the outputs of a file, of their scale, if its weights change a little.

    Every weight w of a layer becomes w·(1 + 2⁻²¹·u), u uniform in [-1, 1]. Runtimes that sum in
    another order make errors of this kind and of this size at most, in every layer; what a network
    makes of them depends on the network and its input. Arithmetic in float16 or bfloat16 errs a
    thousand times as much.
    """
    model = load(path)
    graph = Graph(model)
    weights = dict.fromkeys(
        name
        for op in graph.ops
        if op.type in PRODUCTS
        for name in op.inputs
        if name and graph.is_constant(name) and graph.array(name).dtype.kind == "f"
    )
    worst = 0.0
    for trial in range(_TRIALS):
        rng = np.random.default_rng(trial)
        changed = with_values(model, {name: _moved(graph.array(name), rng) for name in weights})
        results = Session(changed.proto, optimize=False).run(feeds)
        diff, scale = difference(str(path), results, expected)
        worst = max(worst, diff / scale)
    return worst


def _moved(weight: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return weight * (1 + _STEP * rng.uniform(-1, 1, weight.shape))
