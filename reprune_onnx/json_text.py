"""JSON from anywhere: every file, and every text in a model, is parsed here."""

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


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
