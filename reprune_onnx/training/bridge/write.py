"""Put a module's values back into the graph that it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.copies import copies, stored, unshared
from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import to_array
from reprune_onnx.errors import ModelError
from reprune_onnx.model import size
from reprune_onnx.training.bridge.module import OnnxModule
from reprune_onnx.types import Model

Holder = onnx.TensorProto | onnx.AttributeProto


def write_back(model: Model, module: OnnxModule) -> Model:
    """``model`` with the values of ``module``: same graph, names, types and opset.

    ``module`` was made from ``model`` by `torch_module`, and trained since. Tensors that did not
    change keep their bytes. Copies of one tensor that are no longer equal to it, as the parameters
    of several BatchNormalization, become initializers under their own names. Raises ModelError
    where a name or a shape shows another model's module.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(written_out(model).proto)
    values = {name: value.detach().cpu().numpy() for name, value in module.values().items()}
    equal = _equal_copies(proto, values)
    proto = unshared(proto, copies(proto).keys() & values.keys() - equal)
    tensors = held_tensors(proto)
    for name, value in values.items():
        if name in equal:
            continue
        if name not in tensors:
            raise ModelError(
                f"the module holds '{name}', which the file does not: they belong to different"
                " models; make the module with torch_module from this very file"
            )
        put(tensors[name], value, name)
    return Model(proto, model.path, "", size(proto))


def _equal_copies(proto: onnx.ModelProto, values: Mapping[str, NDArray[np.float32]]) -> set[str]:
    """The copies whose values are still those of the initializer that they are copies of."""
    held = stored(proto)
    equal = set()
    for name, source in copies(proto).items():
        if name in values and name not in held:
            value = values.get(source)
            value = to_array(held[source]).astype(np.float32) if value is None else value
            if np.array_equal(values[name], value, equal_nan=True):
                equal.add(name)
    return equal


def held_tensors(proto: onnx.ModelProto) -> dict[str, Holder]:
    """The tensors by the names of `OnnxModule`: initializers, and the values of Constant nodes.

    Those of the bodies of an If have its output and the branch before their names.
    """
    return dict(_held(proto.graph, ""))


def _held(graph: onnx.GraphProto, prefix: str) -> Iterator[tuple[str, Holder]]:
    for tensor in graph.initializer:
        yield prefix + tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name.startswith("value"):
                held = attribute.t if attribute.HasField("t") else attribute
                yield prefix + node.output[0], held
            elif node.op_type == "If" and attribute.HasField("g"):
                result = next(name for name in node.output if name)
                yield from _held(attribute.g, f"{prefix}{result}.{attribute.name}.")


def put(holder: Holder, value: NDArray[np.float32], name: str = "") -> None:
    """Give a tensor new values, in the type it has."""
    if isinstance(holder, onnx.AttributeProto):
        _put_numbers(holder, value)
        return
    old, name = to_array(holder), name or holder.name
    if old.shape != value.shape:
        raise ModelError(
            f"'{name}' has shape {list(old.shape)} in the file but {list(value.shape)} in the"
            " module: they belong to different models; make the module with torch_module from this"
            " very file"
        )
    if np.array_equal(old.astype(np.float32), value, equal_nan=True):
        return
    with np.errstate(over="ignore"):
        new: NDArray[Any] = value.astype(old.dtype)
    if not np.isfinite(new.astype(np.float32)).all() and np.isfinite(value).all():
        raise ModelError(
            f"'{name}' has values beyond the range of {old.dtype} after training: train the float32"
            " file, and convert it afterwards (`reprune-onnx convert --precision fp16`)"
        )
    made = onnx.numpy_helper.from_array(new, holder.name)
    made.doc_string = holder.doc_string
    holder.CopyFrom(made)


def _put_numbers(attribute: onnx.AttributeProto, value: NDArray[np.float32]) -> None:
    if attribute.name == "value_floats":
        attribute.floats[:] = value.tolist()
    elif attribute.name == "value_float":
        attribute.f = float(value)
