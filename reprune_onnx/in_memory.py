"""Data that a caller holds: an array, or what yields arrays, pairs or dicts."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import islice
from typing import Any

from reprune_onnx.arguments import wrong_type

_TAKES = (
    "a path, the text of --calibration, an array, or an iterable of arrays, (x, y) or dicts, such"
    " as a DataLoader"
)


class InMemory:
    """Images that stay with the caller until they are read, and are drawn from it once.

    ``given`` is an array (n, c, h, w), a pair (x, y) of arrays, a dict of arrays by the names of
    inputs, or yields images or batches: arrays or tensors, (x, y), or dicts.
    """

    def __init__(self, name: str, given: object) -> None:
        yields = isinstance(given, Iterable) or hasattr(given, "__getitem__")
        if isinstance(given, (bytes, set, frozenset)) or not yields:
            raise wrong_type(name, given, _TAKES)
        self.name, self.given = name, given
        self.most: int | None = None
        self._drawn: list[Any] = []
        self._more: list[Iterator[Any]] = []  # shared, as is what was drawn, by copies of this

    def of(self, most: int | None) -> InMemory:
        """Return the same, of which ``most`` images are wanted."""
        wanted = InMemory(self.name, self.given)
        wanted._drawn, wanted._more = self._drawn, self._more
        wanted.most = most
        return wanted

    def __str__(self) -> str:
        shape = getattr(self.given, "shape", None)
        kind = type(self.given).__name__
        return f"{kind} in memory" if shape is None else f"{kind} {tuple(shape)} in memory"

    @property
    def complete(self) -> bool:
        """Whether it is all there: an array, a pair of arrays or a dict of them."""
        given = self.given
        pair = isinstance(given, tuple) and len(given) == 2 and _rank(given[1]) == 1
        return pair or isinstance(given, Mapping) or _rank(given) is not None

    def items(self) -> Iterator[Any]:
        """The items from the start, any number of times; nothing is drawn twice."""
        if self.complete:
            yield self.given
            return
        if not self._more:
            given: Any = self.given
            self._more.append(iter(given))
        done = 0
        while True:
            while done < len(self._drawn):
                yield self._drawn[done]
                done += 1
            try:
                self._drawn.append(next(self._more[0]))
            except StopIteration:
                return

    def drawn(self) -> list[Any]:
        """Everything, drawn to the end."""
        return list(self.items())

    def held(self, most: int) -> InMemory:
        """Return the same in a form that other processes can have: ``most`` items, or all."""
        return self if self.complete else InMemory(self.name, list(islice(self.items(), most)))

    def digest(self) -> str:
        """A hash of everything."""
        return sha256(pickle.dumps(self.drawn())).hexdigest()


def _rank(value: object) -> int | None:
    """The number of axes of an array or a tensor; None for any other object."""
    shape = getattr(value, "shape", None)
    return None if shape is None else len(shape)
