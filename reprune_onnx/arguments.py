"""The one sentence for an argument of a type that a function does not take."""

from __future__ import annotations

from reprune_onnx.errors import ArgumentError

_MOST = 40  # characters of a value that are shown


def wrong_type(argument: str, value: object, takes: str) -> ArgumentError:
    """Return the error that names the argument, what it takes and what was given.

    >>> print(wrong_type("sparsity", "0.5", "a number"))
    sparsity takes a number, not '0.5' (str)
    """
    kind, text = type(value).__name__, repr(value)
    shown = value is not None and "\n" not in text and len(text) <= _MOST
    return ArgumentError(f"{argument} takes {takes}, not {f'{text} ({kind})' if shown else kind}")
