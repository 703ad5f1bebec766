"""The bodies of If, Loop, Scan and others: graphs among the attributes of a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that are attributes of ``node``."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def with_bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """``nodes``, each before the nodes of its bodies."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from with_bodies(body.node)
