"""The one place where errors end: a line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from reprune_onnx.cli.misuse import Misuse, misused
from reprune_onnx.errors import RepruneError, UsageError
from reprune_onnx.printable import printable

_STOPPED = (130, 143)
"""The exit codes after Ctrl-C, which Typer makes of it, and after SIGTERM."""


def run(app: Callable[..., object], argv: list[str]) -> int:
    """Run ``app``, a Typer or the command made of one, on ``argv``; the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _show
        return _run(app, argv)


def _run(app: Callable[..., object], argv: list[str]) -> int:
    try:
        return _ended(_command(app, argv))
    except UsageError as error:
        return _say(error, 2)
    except RepruneError as error:
        return _say(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # what reads and writes files says more; this is left: stdout, cwd
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _say(f"the system refuses: {error}", 1)
    except MemoryError:
        return _say("out of memory: the model or the images are too large for this machine", 1)
    except Exception as error:  # whatever else escapes is a bug of this tool
        traceback.print_exc()
        return _say(
            f"this is a bug of reprune-onnx ({type(error).__name__}: {error}); please report it"
            " with the lines above and the model, or how to make it",
            3,
        )


def _command(app: Callable[..., object], argv: list[str]) -> object:
    """Read ``argv`` and run its command; how it ended, None for well."""
    try:
        code = app(argv, standalone_mode=False, prog_name="reprune-onnx")
        sys.stdout.flush()
        return code
    except SystemExit as end:
        return end.code
    except Misuse as problem:
        if argv:
            return _say(misused(problem, argv), 2)
        problem.show()  # the help
        return 2


def _ended(code: object) -> int:
    """The exit code of a command that ended by itself, or by a signal."""
    code = code if isinstance(code, int) else int(code is not None)
    return _say("interrupted", code) if code in _STOPPED else code


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as its one line, without the place in the code."""
    del category, filename, lineno, file, line
    _say(message, 0)


def _say(message: object, code: int) -> int:
    line = printable(" ".join(str(message).split()))
    print(f"reprune-onnx: {line}", file=sys.stderr)
    return code
