"""A hint at the word that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def hint(word: str, words: Iterable[str]) -> str:
    """Return ``" (did you mean '…'?)"`` with the nearest of ``words``; "" where none is near.

    >>> hint("x_tset", ["x_test", "y_test"])
    " (did you mean 'x_test'?)"
    """
    import difflib  # for messages alone

    near = difflib.get_close_matches(word, list(words), 1)
    return f" (did you mean '{near[0]}'?)" if near else ""
