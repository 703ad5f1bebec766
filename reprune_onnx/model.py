"""Load and save: external data, hashes, and a file that is either old or new but never partial."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError, Message

from reprune_onnx import unreadable
from reprune_onnx.arguments import wrong_type
from reprune_onnx.atomic import Files, told
from reprune_onnx.errors import ModelError
from reprune_onnx.external_data import load_external, tensors
from reprune_onnx.order import in_order
from reprune_onnx.types import Model

ModelLike: TypeAlias = str | PathLike[str] | onnx.ModelProto | Model
"""The types that every function of the package accepts as a model."""

LIMIT = 2**31 - 1
"""Protobuf's own limit for one message, in bytes; larger models keep their weights beside them."""


_OTHERS = {
    b"PK\x03\x04": "a zip archive (.npz and .pt are, too): unpack it, and give the .onnx file",
    b"\x1f\x8b": "compressed by gzip: decompress it first",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the model with git lfs pull",
}
"""First bytes of files that people have in place of a model, and what to do about each."""


def load(path: str | PathLike[str]) -> Model:
    """Read an ONNX file, and the external data that lies beside it; its nodes in order.

    Raises ModelError where the file is missing, not ONNX, truncated, points to data that is missing
    or lies outside the model's folder, or where nodes need each other in a cycle.
    """
    if not isinstance(path, (str, PathLike)):
        raise wrong_type("path", path, "a path")
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read '{path}': {unreadable.reason(error)}") from error
    other = next((what for start, what in _OTHERS.items() if data.startswith(start)), None)
    if other is not None or not data:
        raise ModelError(f"'{path}' is {other or 'an empty file: copy or export it again'}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"'{path}' is not an ONNX file, or it is truncated: copy or export it again"
        ) from error
    if not proto.graph.node or not proto.ir_version:
        raise ModelError(f"'{path}' holds no ONNX graph: copy or export it again")
    _check_texts(proto, path)
    files = load_external(proto, path)
    size = len(data) + sum(file.stat().st_size for file in files)
    return in_order(Model(proto, path, hashlib.sha256(data).hexdigest(), size, (path, *files)))


def as_model(model: ModelLike, argument: str = "model") -> Model:
    """Return the model that a path, a ``ModelProto`` or a `Model` stands for.

    A ``ModelProto`` is not copied, and never changed. Raises ArgumentError, which names the
    ``argument``, for anything else, and ModelError where the weights of a ``ModelProto`` lie in
    files.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, PathLike)):
        return load(Path(model))
    if not isinstance(model, onnx.ModelProto):
        raise wrong_type(argument, model, "a path, an onnx.ModelProto or a Model")
    outside = [t.name for t in tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ModelError(
            f"{argument}: the weights of this ModelProto lie in files, such as those of"
            f" '{outside[0]}': give the path of the model, which says where they are"
        )
    return in_order(Model(model, bytes=size(model)))


def save(model: ModelLike, path: str | PathLike[str]) -> None:
    """Write the model; weights go to ``<name>.data`` beside it where it is larger than 2 GB.

    The file appears under its name only when it is complete. Raises OutputError where the folder
    cannot be written to.
    """
    with Files() as files:
        stage(as_model(model), Path(path), files)
        files.commit()


def stage(model: Model, path: Path, files: Files) -> None:
    """Write the model as one of ``files``, which are put in their places later."""
    if size(model.proto) > LIMIT:
        _stage_external(model.proto, path, files)
    else:
        files.add(path, model.proto.SerializeToString(deterministic=True))


def beside(path: Path) -> Path:
    """Where the weights of a model lie that is too large for one file."""
    return path.with_name(f"{path.name}.data")


def size(proto: onnx.ModelProto) -> int:
    """The bytes of a model, at least where there are more than `LIMIT`.

    Protobuf's own count overflows above 4 GB, so the weights are counted first.
    """
    weights = sum(len(tensor.raw_data) for tensor in tensors(proto))
    return weights if weights > LIMIT else proto.ByteSize()


def copy_emptied(proto: onnx.ModelProto, names: Container[str]) -> onnx.ModelProto:
    """A copy whose initializers ``names`` are empty: in their places, but without their values."""
    copy = onnx.ModelProto()
    _copy_fields(proto, copy, "graph")
    _copy_fields(proto.graph, copy.graph, "initializer")
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            copy.graph.initializer.add(name=tensor.name, doc_string=tensor.doc_string)
        else:
            copy.graph.initializer.append(tensor)
    return copy


def _copy_fields(source: Message, target: Message, left_out: str) -> None:
    for field, value in source.ListFields():
        if field.name == left_out:
            continue
        if isinstance(value, (str, bytes, int, float)):
            setattr(target, field.name, value)
        elif isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        else:
            getattr(target, field.name).extend(value)


def _check_texts(proto: onnx.ModelProto, path: Path) -> None:
    """Protobuf hands out text that is not UTF-8 as bytes, which nothing here expects."""
    messages: list[Message] = [proto]
    while messages:
        message = messages.pop()
        if isinstance(message, onnx.TensorProto):  # whose fields are not listed: they may be large
            texts: list[object] = [message.name, message.doc_string]
            messages.extend(message.external_data)
        else:
            texts = []
            for field, value in message.ListFields():
                if field.type == field.TYPE_STRING:
                    texts += [value] if isinstance(value, (str, bytes)) else value
                elif field.type == field.TYPE_MESSAGE:
                    messages.extend([value] if isinstance(value, Message) else value)
        if not all(isinstance(text, str) for text in texts):
            raise ModelError(f"'{path}' has names that are no text: the file is damaged")


def _stage_external(proto: onnx.ModelProto, path: Path, files: Files) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    weights = beside(path).name
    folder = files.folder(path)
    with told(path):
        onnx.save_model(copy, str(folder / path.name), save_as_external_data=True, location=weights)
    files.move(folder / weights, beside(path))
    files.move(folder / path.name, path)
