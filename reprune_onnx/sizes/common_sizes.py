"""Sizes that inputs often have: of images, lines of text, signals and volumes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

_SIDES = (
    *(32, 40, 48, 56, 64, 80, 96, 100, 112, 128, 160, 192, 224, 240, 256, 288, 299, 300, 320, 352),
    *(384, 416, 448, 480, 512, 576, 608, 640, 768, 800, 1024),
)
_LINES = ((48, 320), (32, 320), (32, 100))  # of text
_HEIGHTS, _WIDTHS = (48, 32, 64, 128), (320, 100, 128, 160, 192, 200, 256, 400, 480, 512, 640, 800)
_LENGTHS = (
    *(224, 512, 1024, 256, 128, 64, 32, 2048, 4096, 8192, 100, 200, 250, 300, 400, 500, 1000),
    *(1500, 2000, 3000, 4000, 8000, 16000, 32000),
)
_CUBES = (32, 64, 16, 48, 96, 128, 24, 8)

FRAMES = (32, 64, 128)
"""First extents to try of an input of rank 2, which may be a spectrogram: frames of a length."""


def common_sizes(n: int, rank: int) -> Iterator[tuple[int, ...]]:
    """Yield sizes of ``n`` open sides of an input of that rank, the most common first."""
    if not n:
        return
    if rank <= 3:
        yield from ((length,) * n for length in _LENGTHS)
        return
    if n == 2 and rank == 4:
        yield from _LINES
    yield from ((side,) * n for side in (_SIDES if rank == 4 else _CUBES))
    if n == 2 and rank == 4:
        yield from product(_HEIGHTS, _WIDTHS)
        yield from product(_WIDTHS, _HEIGHTS)
