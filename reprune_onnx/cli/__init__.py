"""The command line: one file per command, each of which parses, calls one function and prints."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 the user's problem, 2 usage, 3 a bug."""
    from reprune_onnx.cli.app import app
    from reprune_onnx.cli.edge import run

    sys.exit(run(app, sys.argv[1:] if argv is None else argv))
