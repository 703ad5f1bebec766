"""onnx's reference implementation of single nodes, for the small numbers that graphs compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Arrays = Sequence["NDArray[Any] | None"]


def reference(node: onnx.NodeProto, opset: int) -> Callable[[Arrays], list[NDArray[Any]] | None]:
    """A function of the inputs of a node of ONNX's own ops; it gives None where it cannot."""
    from onnx.reference import ReferenceEvaluator  # takes a third of a second

    names = [f"i{k}" if name else "" for k, name in enumerate(node.input)]
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend(names)
    graph = onnx.GraphProto(name="number", node=[copy])
    graph.input.extend(onnx.ValueInfoProto(name=name) for name in names if name)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    model = onnx.ModelProto(ir_version=8, graph=graph)
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    try:
        evaluator = ReferenceEvaluator(model)
    except Exception:  # an op that it does not know, and whatever its Python code raises
        return lambda _: None

    def computed(feeds: Arrays) -> list[NDArray[Any]] | None:
        given = {name: a for name, a in zip(names, feeds, strict=True) if a is not None}
        try:
            with np.errstate(all="ignore"):
                return [np.asarray(result) for result in evaluator.run(None, given)]
        except Exception:  # the same
            return None

    return computed
