"""The arithmetic of all families: +, -, ×, ÷, square roots and uniform draws, and nothing else.

IEEE 754 rounds these the same on every machine, and a `Generator` draws the same uniform numbers.
Sines, powers and Fourier transforms differ in the last bit from one library to the next, and so do
sums whose order a machine chooses. Fields are float64 arrays (c, *space): channels, then 1 to 3
axes of space.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.types import Floats

Space = tuple[int, ...]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number; a `Generator`'s own ``uniform`` is rounded once or twice, by its compiler."""
    return low + (high - low) * float(rng.random())


def centred(rng: np.random.Generator, *shape: int) -> Floats:
    """Draw numbers in -1 … 1, which are exact."""
    numbers: Floats = 2 * rng.random(shape) - 1
    return numbers


def rarely(rng: np.random.Generator) -> float:
    """Draw a number in 0 … 1 that is seldom large: the square of an even one."""
    u = float(rng.random())
    return u * u


def rotation(rng: np.random.Generator, d: int) -> Floats:
    """Draw a rotation (d, d) of 1, 2 or 3 axes."""
    turn: Floats = rotations(rng, 1, d)[0]
    return turn


def rotations(rng: np.random.Generator, n: int, d: int) -> Floats:
    """Draw rotations (n, d, d) of 1, 2 or 3 axes, from unit quaternions in three."""
    if d == 1:
        return np.where(rng.random((n, 1, 1)) < 0.5, 1.0, -1.0)
    q = np.moveaxis(_units(rng, n, 2 if d == 2 else 4), 1, 0)
    if d == 2:
        rows = [[q[0], q[1]], [-q[1], q[0]]]
    else:
        w, x, y, z = q
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    turns: Floats = np.moveaxis(np.array(rows), 2, 0)
    return turns


def _units(rng: np.random.Generator, n: int, d: int) -> Floats:
    """Draw directions (n, d), by points of the cube that lie in the ball."""
    points = np.zeros((n, d))
    left = np.arange(n)
    while len(left):
        points[left] = centred(rng, len(left), d)
        square = _squares(points[left])
        left = left[(square <= 0.01) | (square >= 1)]
    return points / np.sqrt(_squares(points))[:, None]


def _squares(points: Floats) -> Floats:
    """The squared lengths (n,) of points (n, d), summed in the order of their axes."""
    total: Floats = points[:, 0] * points[:, 0]
    for axis in range(1, points.shape[1]):
        total = total + points[:, axis] * points[:, axis]
    return total


def along(turned: Floats, axes: tuple[Floats, ...]) -> Floats:
    """Return Σ turned_i·x_i on a grid whose coordinates along axis i are ``axes[i]``."""
    total: Floats = turned[0] * axes[0]
    for t, x in zip(turned[1:], axes[1:], strict=True):
        total = total + t * x
    return total


def grid(low: tuple[int, ...], high: tuple[int, ...], centre: Floats) -> tuple[Floats, ...]:
    """The coordinates of pixels from ``low`` to ``high``, from ``centre``, to be broadcast."""
    d = len(low)
    return tuple(
        (np.arange(a, b) - c).reshape([-1 if i == axis else 1 for i in range(d)])
        for axis, (a, b, c) in enumerate(zip(low, high, centre, strict=True))
    )


def wave(phase: Floats) -> Floats:
    """A sine by two parabolas for each period: 0 at 0 and ½, 1 at ¼, -1 at ¾.

    >>> wave(np.array([0.0, 0.25, 0.625, 0.75, 1.25])).tolist()
    [0.0, 1.0, -0.75, -1.0, 1.0]
    """
    t = 2 * (phase - np.floor(phase))
    s = np.where(t < 1, t, t - 1)
    height: Floats = np.where(t < 1, 4 * s * (1 - s), -4 * s * (1 - s))
    return height


def smooth(field: Floats, space: Space, cell: int, rng: np.random.Generator) -> Floats:
    """Blow a lattice (c, …) up to ``space``: a value every ``cell`` pixels, from a drawn place on.

    Between the values of neighbours it runs as 3t² - 2t³.
    """
    for axis, n in enumerate(space, start=1):
        x = (np.arange(n) + rng.random() * cell) / cell
        at = np.floor(x).astype(np.int64)
        t = (x - at).reshape([-1 if i == axis else 1 for i in range(field.ndim)])
        t = t * t * (3 - 2 * t)
        low, high = field.take(at, axis), field.take(at + 1, axis)
        field = low + t * (high - low)
    blown: Floats = field
    return blown


def to_bytes(field: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Values of 0 to 1, and what lies beyond, as 0 to 255."""
    return np.floor(np.clip(field, 0, 1) * 255 + 0.5).astype(np.uint8)
