"""From an ONNX model to a PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence

from reprune_onnx.analyzer.copies import with_own_parameters
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.errors import ModelError
from reprune_onnx.training.bridge.module import NodeCall, OnnxModule
from reprune_onnx.training.bridge.node import Function, Mode, Node
from reprune_onnx.training.bridge.ops import OPS
from reprune_onnx.training.bridge.roots import is_root
from reprune_onnx.training.bridge.scope import BRANCHES, GraphScope, scope_of
from reprune_onnx.types import Model

OLDEST = 7


def torch_module(model: Model, outputs: Sequence[str] | None = None) -> OnnxModule:
    """The main graph of ``model`` as an ``nn.Module`` in eval mode, ready to be trained.

    It takes the graph's data inputs in their order and returns its outputs (or the tensors
    ``outputs``, which need only a part of the graph). Every floating-point tensor is held and
    computed in float32, whatever the file's type. Every BatchNormalization has parameters of its
    own, also those that an exporter wrote once for several. Raises ModelError for an op that the
    bridge lacks, and names the node: before anything is trained.
    """
    graph = Graph(with_own_parameters(written_out(model)))
    wanted = list(graph.outputs if outputs is None else outputs)
    if graph.opsets.get("", OLDEST) < OLDEST:
        raise ModelError(
            f"the model has opset {graph.opsets['']}, the PyTorch bridge reads {OLDEST} and newer:"
            " convert it with onnx.version_converter"
        )
    scope = scope_of(graph)
    return _module(scope, wanted, Mode(stated_batch=_stated_batch(graph)))


def _module(scope: GraphScope, outputs: list[str], mode: Mode) -> OnnxModule:
    ops = _needed(scope, outputs)
    _refuse(ops)
    bodies = {
        op.index: [_module(body, body.graph.outputs, mode) for body in scope.bodies[op.index]]
        for op in ops
        if op.index in scope.bodies
    }
    steps = _steps(scope, ops, bodies, outputs, mode)
    inputs = sorted(scope.outer) if scope.prefix else [i.name for i in scope.graph.inputs]
    module = OnnxModule(steps, inputs, outputs, mode)
    _hold_constants(module, scope, ops, outputs)
    for op in ops:
        for branch, body in zip(BRANCHES, bodies.get(op.index, ()), strict=False):
            module.hold_body(op.result, branch, body)
    return module


def _needed(scope: GraphScope, outputs: list[str]) -> list[Op]:
    """The nodes that are executed, in order."""
    graph, roots = scope.graph, scope.roots
    needed: set[int] = set()
    stack = list(outputs)
    while stack:
        name = stack.pop()
        op = graph.producer(name)
        if op is None:
            if name and name in graph.sparse:
                raise ModelError(f"'{name}' is a sparse tensor, which the PyTorch bridge lacks")
            continue
        constant = name in graph.derived and op.index not in roots.live
        if not constant and op.index not in needed:
            needed.add(op.index)
            stack.extend(i for i in scope.reads(op) if i)
    return [graph.ops[index] for index in sorted(needed)]


def _refuse(ops: list[Op]) -> None:
    lacking = [op for op in ops if op.key not in OPS]
    if lacking:
        kinds = sorted({op.key.replace("::", ".") for op in lacking})
        raise ModelError(
            f"{lacking[0].title}: the PyTorch bridge has no op {', '.join(kinds)}, so the model"
            " cannot be trained here; `prune` and `recover` work without it"
        )


def _stated_batch(graph: Graph) -> int | None:
    if not graph.inputs:
        return None
    dims = graph.inputs[0].type.tensor_type.shape.dim
    return dims[0].dim_value if dims and dims[0].dim_value > 0 else None


def _steps(
    scope: GraphScope,
    ops: list[Op],
    bodies: dict[int, list[OnnxModule]],
    outputs: list[str],
    mode: Mode,
) -> list[NodeCall]:
    last = {name: op.index for op in ops for name in scope.reads(op)}
    made = {name for op in ops for name in op.outputs} - set(outputs)
    read = set(last) | set(outputs)
    steps = []
    for op in ops:
        constants = {
            i: scope.graph.array(name)
            for i, name in enumerate(op.inputs)
            if name and _is_known(scope, name)
        }
        used = [k for k, name in enumerate(op.outputs) if name in read]
        reads = scope.reads(op)
        taken = reads[len(op.inputs) :]
        branches = tuple(_taking(body, taken) for body in bodies.get(op.index, ()))
        node = Node(op, constants, mode, max(used, default=0) + 1, branches)
        free = {n for n in (*reads, *op.outputs) if n in made and last.get(n, -1) <= op.index}
        function = OPS[op.key](node)
        steps.append(NodeCall(op.title, function, reads, op.outputs, tuple(sorted(free))))
    return steps


def _taking(body: OnnxModule, names: tuple[str, ...]) -> Function:
    """A function that computes ``body`` from tensors ``names``, of which it may need a part."""
    places = [names.index(name) for name in body.input_names]
    return lambda *outer: body.computed(*(outer[i] for i in places))


def _is_known(scope: GraphScope, name: str) -> bool:
    """Whether ``name`` is a constant that training never changes."""
    graph, roots = scope.graph, scope.roots
    if not graph.is_constant(name) or name in roots.trained | roots.running:
        return False
    return is_root(graph, name) or graph.derived[name] not in roots.live


def _hold_constants(
    module: OnnxModule, scope: GraphScope, ops: list[Op], outputs: list[str]
) -> None:
    graph, roots = scope.graph, scope.roots
    made = {name for op in ops for name in op.outputs}
    read = dict.fromkeys(name for op in ops for name in scope.reads(op) if name)
    for name in (*read, *outputs):
        if name in made or name in scope.outer or not graph.is_constant(name):
            continue
        root = is_root(graph, name)
        kind = "trained" if name in roots.trained else "stays" if root else "computed"
        module.hold(name, graph.array(name), kind)
