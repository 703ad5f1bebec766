"""JSON from anywhere and to files: every text is parsed here, and every file is written."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse_json(text: str) -> Any:
    """The value of a JSON text; ValueError for one that is not JSON.

    Such are also NaN and infinite numbers, and lists in lists too deep to be followed.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("lists are nested too deep") from None


def json_bytes(value: object) -> bytes:
    """JSON as files hold it; bytes of file names that are no text are written as escapes."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
