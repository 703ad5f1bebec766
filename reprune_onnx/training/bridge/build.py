"""From an ONNX model to a PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence

from reprune_onnx.analyzer.copies import with_own_parameters
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.errors import ModelError
from reprune_onnx.training.bridge.module import OnnxModule, Step
from reprune_onnx.training.bridge.node import Mode, Node
from reprune_onnx.training.bridge.ops import OPS
from reprune_onnx.training.bridge.roots import Roots, find_roots, is_root
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
    roots = find_roots(graph)
    ops = _needed(graph, roots, wanted)
    _refuse(ops)
    mode = Mode(stated_batch=_stated_batch(graph))
    steps = _steps(graph, roots, ops, (wanted, mode))
    module = OnnxModule(steps, [i.name for i in graph.inputs], wanted, mode)
    _hold_constants(module, graph, roots, (ops, wanted))
    return module


def _needed(graph: Graph, roots: Roots, outputs: list[str]) -> list[Op]:
    """The nodes that are executed, in order."""
    found: set[int] = set()
    stack = list(outputs)
    while stack:
        name = stack.pop()
        op = graph.producer(name)
        if op is None:
            if name and name in graph.sparse:
                raise ModelError(f"'{name}' is a sparse tensor, which the PyTorch bridge lacks")
            continue
        constant = name in graph.derived and op.index not in roots.live
        if not constant and op.index not in found:
            found.add(op.index)
            stack.extend(i for i in op.inputs if i)
    return [graph.ops[index] for index in sorted(found)]


def _refuse(ops: list[Op]) -> None:
    lacking = [op for op in ops if op.domain or op.type not in OPS]
    if lacking:
        kinds = sorted({f"{op.domain}.{op.type}" if op.domain else op.type for op in lacking})
        raise ModelError(
            f"{lacking[0].title}: the PyTorch bridge has no op {', '.join(kinds)}, so the model"
            " cannot be trained here; `prune` and `recover` work without it"
        )


def _stated_batch(graph: Graph) -> int | None:
    if not graph.inputs:
        return None
    dims = graph.inputs[0].type.tensor_type.shape.dim
    return dims[0].dim_value if dims and dims[0].dim_value > 0 else None


def _steps(graph: Graph, roots: Roots, ops: list[Op], ends: tuple[list[str], Mode]) -> list[Step]:
    outputs, mode = ends
    last = {name: op.index for op in ops for name in op.inputs}
    made = {name for op in ops for name in op.outputs} - set(outputs)
    read = set(last) | set(outputs)
    steps = []
    for op in ops:
        known = {
            i: graph.array(name)
            for i, name in enumerate(op.inputs)
            if name and _is_known(graph, roots, name)
        }
        used = [k for k, name in enumerate(op.outputs) if name in read]
        node = Node(op, known, mode, max(used, default=0) + 1)
        free = {n for n in (*op.inputs, *op.outputs) if n in made and last.get(n, -1) <= op.index}
        function = OPS[op.type](node)
        steps.append(Step(op.title, function, op.inputs, op.outputs, tuple(sorted(free))))
    return steps


def _is_known(graph: Graph, roots: Roots, name: str) -> bool:
    """Whether ``name`` is a constant that training never changes."""
    if not graph.is_constant(name) or name in roots.trained | roots.running:
        return False
    return is_root(graph, name) or graph.derived[name] not in roots.live


def _hold_constants(
    module: OnnxModule, graph: Graph, roots: Roots, ends: tuple[list[Op], list[str]]
) -> None:
    ops, outputs = ends
    made = {name for op in ops for name in op.outputs}
    read = dict.fromkeys(name for op in ops for name in op.inputs if name)
    for name in (*read, *outputs):
        if name in made or not graph.is_constant(name):
            continue
        root = is_root(graph, name)
        kind = "trained" if name in roots.trained else "stays" if root else "computed"
        module.hold(name, graph.array(name), kind)
