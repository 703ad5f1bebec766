"""Weights in files beside the model: read within its folder, and as much as is stated."""

from __future__ import annotations

from pathlib import Path

import onnx

from reprune_onnx import unreadable
from reprune_onnx.errors import ModelError
from reprune_onnx.tensor_bytes import stated_bytes


def load_external(proto: onnx.ModelProto, path: Path) -> tuple[Path, ...]:
    """Read the external data into ``proto``; the files it came from.

    It is read here and not by onnx, which reads whole files where no length is given, and raises
    where a file is a link within its folder, or has two names.
    """
    files: dict[Path, None] = {}
    for tensor in tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        info = {e.key: e.value for e in tensor.external_data}
        target = _inside(tensor, info.get("location", ""), path)
        offset, length = _extent(tensor, info, target)
        try:
            with target.open("rb") as file:
                file.seek(offset)
                tensor.raw_data = file.read(length)
        except OSError as error:
            raise ModelError(f"cannot read '{target}': {unreadable.reason(error)}") from error
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
        files[target] = None
    return tuple(files)


def _inside(tensor: onnx.TensorProto, where: str, path: Path) -> Path:
    """The external data file; ModelError where it is missing, or outside the model's folder."""
    try:
        target = path.parent / where
        inside = path.parent.resolve() in target.resolve().parents
        exists = inside and target.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, NUL
        raise ModelError(
            f"tensor '{tensor.name}' points to external data that cannot name a file: the file is"
            " damaged"
        ) from error
    if not where or Path(where).is_absolute() or not inside:
        raise ModelError(
            f"tensor '{tensor.name}' points to external data '{where}' outside the folder of"
            f" '{path}': such files are not read"
        )
    if not exists:
        raise ModelError(
            f"tensor '{tensor.name}' needs the external data file '{target}', which is missing:"
            " put it beside the model"
        )
    return target


def _extent(tensor: onnx.TensorProto, info: dict[str, str], target: Path) -> tuple[int, int]:
    """Where a tensor's bytes start and how many there are: as many as its shape and type ask for.

    Where a length is stated too, it must be that; what follows in the file belongs to others.
    """
    size, length = target.stat().st_size, stated_bytes(tensor)
    try:
        offset = int(info.get("offset", 0))
        stated = int(info["length"]) if info.get("length") else None
    except ValueError as error:
        raise ModelError(f"tensor '{tensor.name}' has a damaged external data entry") from error
    if length is None:
        raise ModelError(
            f"tensor '{tensor.name}' is of a type or shape that has no bytes: the file is damaged"
        )
    if stated not in (None, length):
        raise ModelError(
            f"tensor '{tensor.name}' of shape {list(tensor.dims)} has {length:,} bytes, and its"
            f" external data {stated:,}: the file is damaged"
        )
    if offset < 0 or offset + length > size:
        raise ModelError(
            f"tensor '{tensor.name}' needs bytes {offset} to {offset + length} of '{target}', which"
            f" has {size}: the file is truncated or belongs to another model"
        )
    return offset, length


def tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor of a model: those of bodies, functions and sparse tensors too."""
    tensors_of_graph: list[onnx.TensorProto] = []
    graphs = [proto.graph]
    nodes = [n for f in proto.functions for n in f.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            tensors_of_graph.extend(graph.initializer)
            tensors_of_graph.extend(
                t for s in graph.sparse_initializer for t in (s.values, s.indices)
            )
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            if attribute.HasField("t"):
                tensors_of_graph.append(attribute.t)
            tensors_of_graph.extend(attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                tensors_of_graph.extend((sparse.values, sparse.indices))
            graphs.extend(g for g in (attribute.g, *attribute.graphs) if g.ByteSize())
    return tensors_of_graph
