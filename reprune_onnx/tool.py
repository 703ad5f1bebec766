"""The name and version of this tool, as every file that it writes states them."""

from __future__ import annotations

from typing import TypedDict

from reprune_onnx import __version__


class ToolEntry(TypedDict):
    """The tool that wrote a file."""

    name: str
    version: str


def this_tool() -> ToolEntry:
    """Return name and version, as reports, logs, results and bundles have them."""
    return {"name": "reprune-onnx", "version": __version__}
