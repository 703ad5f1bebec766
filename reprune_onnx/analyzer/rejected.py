"""Why a node cannot be followed: by ONNX's shape inference, and by the shapes that it reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.safe_inference import infer_shapes
from reprune_onnx.types import Labels, Shape

_REJECTED = re.compile(
    r"\(op_type:(?P<type>[^,)]+)(?:, node name: (?P<name>[^)]+))?\): (?:\[\w+\] )?(?P<why>.+)"
)


def rejected(graph: Graph, op: Op) -> str | None:
    """Return the first node that is rejected and why, where it stands before ``op``.

    It is the cause where ``op``, which reads what it makes, is where the trouble shows.
    """
    try:
        infer_shapes(graph.proto, strict_mode=True, data_prop=True)
    except Exception as error:  # a file beyond 2 GiB, or whatever else it stumbles over
        message = _REJECTED.search(str(error))
        if message is None:
            return None
        same = [other for other in graph.ops if other.type == message["type"]]
        if message["name"] is not None:
            same = [other for other in same if other.name == message["name"]]
        if len(same) == 1 and same[0].index < op.index:
            why = message["why"].rstrip(".")
            return f"{same[0].title} is rejected by ONNX's shape inference ({why})"
    return None


def described(graph: Graph, tensors: Mapping[str, Labels], op: Op) -> str:
    """Return the shapes of what a node reads, and the sizes at which they are followed."""
    read = [name for name in op.inputs if name]
    extents: dict[str, Shape] = {n: graph.shape(n) for n in read if graph.is_constant(n)}
    extents |= {n: tensors[n].shape for n in read if n in tensors}
    shapes = {n: "×".join(str(k or "?") for k in shape) for n, shape in extents.items()}
    text = ", ".join(f"'{name}' is {shape or 'a number'}" for name, shape in shapes.items())
    inputs = [i.name for i in graph.inputs if i.name in tensors]
    sizes = ", ".join(f"{n} = {'×'.join(map(str, tensors[n].shape)) or 'a number'}" for n in inputs)
    return f"{text or 'they are computed'}, at {sizes} (--input-shape gives other sizes)"
