"""The command line: one file per command, each of which parses, calls one function and prints."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 the user's problem, 2 usage, 3 a bug.

    128 and the number of the signal where the user (130) or the system (143) ended it.
    """
    nobody = Path(os.devnull)  # reads what is written to a stream that was closed
    sys.stdout, sys.stderr = sys.stdout or nobody.open("w"), sys.stderr or nobody.open("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # γ or × in a locale that lacks it is no failure
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, _stop)  # what is half-written is removed, as after Ctrl-C
    try:
        from reprune_onnx.cli.app import app
        from reprune_onnx.cli.edge import run
    except KeyboardInterrupt:
        print("reprune-onnx: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(run(app, sys.argv[1:] if argv is None else argv))


def _stop(number: int, frame: object) -> NoReturn:
    del frame
    sys.exit(128 + number)
