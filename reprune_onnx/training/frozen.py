"""`--freeze`: parameters whose values stay while the others train."""

from __future__ import annotations

from reprune_onnx.analyzer.copies import with_own_parameters
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.scope import matching
from reprune_onnx.errors import SelectionError
from reprune_onnx.training.bridge.roots import trainable_roots
from reprune_onnx.training.bridge.scope import scope_of
from reprune_onnx.types import Model


def frozen_parameters(model: Model, globs: tuple[str, ...]) -> frozenset[str]:
    """The parameters that ``globs`` name: by a tensor's name, or by that of a node that reads them.

    What a node reads by way of constants (a Reshape of its weight) is read by it too. Raises
    SelectionError for a glob that names nothing that is trained, and where nothing is left to
    train.
    """
    if not globs:
        return frozenset()
    main = scope_of(Graph(with_own_parameters(written_out(model))))
    read_by: dict[str, set[str]] = {}
    for scope in main.all():
        graph = scope.graph
        names = {name: scope.prefix + name for name in scope.roots.trained - scope.outer}
        read_by |= {name: {name} for name in names.values()}
        for op in graph.ops:
            constants = [name for name in op.inputs if name and graph.is_constant(name)]
            roots = {root for name in constants for root in trainable_roots(graph, name)}
            if op.name and roots & names.keys():
                read_by.setdefault(op.name, set()).update(
                    names[root] for root in roots & names.keys()
                )
    trained = frozenset().union(*read_by.values())
    matched = matching(globs, sorted(read_by), "--freeze", "trained tensor, nor a node with one")
    frozen = frozenset().union(*(read_by[name] for name in matched))
    if frozen == trained:
        raise SelectionError(
            f"--freeze {' --freeze '.join(globs)} leaves none of {len(trained)} parameters to"
            " train: give narrower globs"
        )
    return frozen
