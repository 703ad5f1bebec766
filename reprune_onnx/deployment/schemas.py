"""ONNX's own ops, as its schemas of an opset have them."""

from __future__ import annotations

from typing import Any

import onnx


def schema_of(kind: str, opset: int) -> Any:
    """Return the schema of ONNX's op ``kind`` in ``opset``; None where it has no such op."""
    try:
        schema = onnx.defs.get_schema(kind, opset)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema
