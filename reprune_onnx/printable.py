"""Text from files as a terminal may show it."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    """``text`` with what a terminal would obey instead of show written as in JSON.

    These are control characters, those that turn the direction of writing, and bytes of file names
    that are no text. JSON stays JSON; line breaks stay.

    >>> printable("conv\x1b[31m")
    'conv\\\\u001b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
