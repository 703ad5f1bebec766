"""Models of which nothing can be pruned, and the true reason."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.in_bodies import layers_in_bodies, said
from reprune_onnx.analyzer.op_kinds import WEIGHTED
from reprune_onnx.analyzer.quantized import counted, quantized_nodes
from reprune_onnx.errors import ModelError


def refuse_quantized(graph: Graph) -> None:
    """Raise ModelError for a model in whole numbers."""
    nodes = quantized_nodes(graph.proto)
    if nodes:
        raise ModelError(
            f"the model is quantized ({counted(nodes)}): prune the float model it was made from,"
            " then quantize the result"
        )


def refuse_without_layers(graph: Graph) -> None:
    """Raise ModelError for a model in which no layer was found, with what stands in the way."""
    candidates = [op for op in graph.ops if op.type in WEIGHTED and op.domain == ""]
    foreign = [(op, maker) for op in candidates if (maker := foreign_maker(graph, op)) is not None]
    if foreign:
        op, maker = foreign[0]
        raise ModelError(
            f"the weights of {len(foreign)} of {len(candidates)} layers, such as {op.title}, are"
            f" made by nodes of the domain '{maker.domain}', such as {maker.title}, which this tool"
            " does not know: prune the float model that this one was made from, then do again what"
            " put these nodes in"
        )
    inside = layers_in_bodies(graph)
    if inside:
        raise ModelError(f"nothing can be pruned: {said(inside)}")
    computed = [op for op in candidates if not (op.has(1) and graph.is_constant(op.inputs[1]))]
    if candidates and not computed:
        raise ModelError(
            f"nothing can be pruned: {candidates[0].title} and all other layers compute constants"
            " from constants; export the model with the images as an input"
        )
    if candidates:
        op = computed[0]
        raise ModelError(
            f"nothing can be pruned: none of {len(candidates)} layers, such as {op.title}, has a"
            f" constant weight ('{op.inputs[1]}' depends on the graph's inputs): export the model"
            " with its weights as initializers"
        )
    raise ModelError(
        f"the model has no layer with weights ({', '.join(WEIGHTED)}): there is nothing that this"
        " tool could prune"
    )


def foreign_maker(graph: Graph, op: Op) -> Op | None:
    """A node of a domain other than ONNX's on the way from constants to the weight of ``op``."""
    stack, seen, foreign = [op.inputs[1]] if op.has(1) else [], set[str](), None
    given = {value.name for value in graph.inputs}
    while stack:
        name = stack.pop()
        if name in given:
            return None
        maker = graph.producer(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        foreign = foreign or (maker if maker.domain else None)
        stack.extend(i for i in maker.inputs if i)
    return foreign
