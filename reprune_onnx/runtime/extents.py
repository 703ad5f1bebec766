"""The shapes of tensors, seen in one run: no large tensor leaves ONNX Runtime for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.errors import ModelError
from reprune_onnx.order import read_by
from reprune_onnx.runtime.long_runs import takes_long
from reprune_onnx.runtime.ort import Session, Use
from reprune_onnx.runtime.random_inputs import DRAWS, random_inputs


def extents_in_a_run(
    source: onnx.ModelProto,
    names: Collection[str],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    all_nodes: bool,
    targets: Collection[str] = (),
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of the tensors ``names`` on random inputs of ``shapes``.

    Tensors that hold a shape themselves, as what a Reshape goes to, are ``targets``: of them the
    numbers are returned. With ``all_nodes`` the whole model is run, or else, in 4 GB at most, only
    what leads to all these; nodes that measure are added. Raises ModelError where ONNX Runtime does
    not run that on inputs of any kind.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    if not all_nodes:
        _leave_out_others(proto, [*names, *targets])
    taken = {name for node in proto.graph.node for name in node.output}
    measured: dict[str, str] = {}
    ways = [("Shape", name) for name in sorted(names)]
    ways += [("Identity", name) for name in sorted(targets)]
    for k, (op, name) in enumerate(ways):
        made = f"extents_of_{k}"
        while made in taken:
            made += "_"
        measured[made] = name
        proto.graph.node.append(onnx.helper.make_node(op, [name], [made]))
        proto.graph.output.append(onnx.helper.make_tensor_value_info(made, 7, [None]))
    if not all_nodes and takes_long(proto, shapes):
        raise ModelError("the attention between all places of such inputs takes minutes")
    use: Use = "alone" if all_nodes else "frugal"
    session = Session(proto, optimize=False, outputs=list(measured), use=use)
    results = _run(session, shapes)
    return {name: tuple(results[made].tolist()) for made, name in measured.items()}


def _leave_out_others(proto: onnx.ModelProto, names: Collection[str]) -> None:
    """Let a model have no outputs, and only those nodes that lead to the tensors ``names``."""
    nodes = list(proto.graph.node)
    makers = {name: k for k, node in enumerate(nodes) for name in node.output if name}
    leading: set[int] = set()
    waiting = [makers[name] for name in names if name in makers]
    while waiting:
        k = waiting.pop()
        if k not in leading:
            leading.add(k)
            waiting.extend(makers[name] for name in read_by(nodes[k]) if name in makers)
    copies = [onnx.NodeProto.FromString(nodes[k].SerializeToString()) for k in sorted(leading)]
    del proto.graph.output[:]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)


def _run(session: Session, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.generic]]:
    """The outputs for the first kind of random inputs on which the session runs."""
    *others, last = DRAWS
    for draw in others:
        with suppress(ModelError):
            return session.run(
                random_inputs(session.inputs, shapes, np.random.default_rng(0), draw)
            )
    return session.run(random_inputs(session.inputs, shapes, np.random.default_rng(0), last))
