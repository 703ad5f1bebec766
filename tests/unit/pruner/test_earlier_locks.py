"""An earlier selection that drops what must stay: the next step is one that helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.earlier import keep_by_cuts
from reprune_onnx.results import TensorCut

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,6,6] x) => (float[1,4,6,6] y) {
  [stem] a = Conv (x, stem)  [branch] b = Conv (a, branch)  c = Add (a, b)
  [head] y = Conv (c, head)
}"""


@pytest.mark.parametrize(
    ("cut", "scope", "said"),
    [
        ("stem", {}, r"meets the residual .*; try --residual prune$"),
        ("head", {"residual": "prune"}, r"the channels of graph output 'y' stay .*'\)$"),
        (
            "stem",
            {"residual": "prune", "exclude": ("stem",)},
            r"named by --exclude .*; give the --include and --exclude of that pruning$",
        ),
    ],
)
def test_what_keeps_them_tells_what_to_do(cut: str, scope: Any, said: str) -> None:
    shapes = {"stem": (8, 3, 1, 1), "branch": (8, 8, 1, 1), "head": (4, 8, 1, 1)}
    rng = np.random.default_rng(0)
    proto = model(TEXT, **{name: rng.standard_normal(s) for name, s in shapes.items()})
    graph = graph_of(rp.Model(proto))
    channels = channels_of(graph, rp.Scope(**scope))

    with pytest.raises(SelectionError, match=f"channels that must stay: {said}"):
        keep_by_cuts(graph, channels, (TensorCut(cut, 0, np.array([0, 1])),), "a report")
