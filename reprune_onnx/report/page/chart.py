"""Charts as inline SVG: lines, points and boxes over two axes, coloured by the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log2, log10

from reprune_onnx.report.page.html import Content, Html, tag

_WIDTH, _HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 44
COLOURS = 6
"""The style has so many colours; series after that start over, with other dashes."""


@dataclass(frozen=True)
class Axis:
    """An axis. ``ticks`` are chosen where none are given; ``zero`` lets it start at 0."""

    label: str
    ticks: Sequence[float] = ()
    zero: bool = False
    log: bool = False


@dataclass(frozen=True)
class Series:
    """A named line through points (x, y); ``rings`` are those to point out.

    ``spread`` are pairs (lowest, highest) of y, one per point, or nothing.
    """

    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float]] = ()
    rings: Sequence[int] = ()


@dataclass(frozen=True)
class Box:
    """The five numbers of a box plot at ``x``: least, quartiles, median, most."""

    x: float
    numbers: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Chart:
    """Lines and boxes over two axes."""

    x: Axis
    y: Axis
    series: Sequence[Series] = ()
    boxes: Sequence[Box] = field(default=())

    def svg(self, label: str) -> Html:
        """Return the drawing; ``label`` is what is read aloud."""
        xs = [x for s in self.series for x, _ in s.points] + [b.x for b in self.boxes]
        ys = [y for s in self.series for _, y in s.points]
        ys += [y for s in self.series for pair in s.spread for y in pair]
        ys += [y for b in self.boxes for y in b.numbers]
        frame = _Frame(_scale(self.x, xs), _scale(self.y, ys))
        drawn = [_lines(frame, k, s) for k, s in enumerate(self.series)]
        drawn += [_box(frame, b, len(self.boxes)) for b in self.boxes]
        return tag(
            "svg",
            _axes(frame, self.x, self.y),
            drawn,
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            role="img",
            aria_label=label,
        )

    def legend(self) -> Html:
        """The names of the series beside their colours."""
        items = [
            tag("li", tag("span", class_=f"key {_colour(k)}"), series.name)
            for k, series in enumerate(self.series)
        ]
        return tag("ul", items, class_="legend")


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        low, high = (log2(self.low), log2(self.high)) if self.log else (self.low, self.high)
        return ((log2(value) if self.log else value) - low) / (high - low)


@dataclass(frozen=True)
class _Frame:
    x: _Scale
    y: _Scale

    def at(self, x: float, y: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return (
            round(_LEFT + width * self.x.share(x), 2),
            round(_TOP + height * (1 - self.y.share(y)), 2),
        )


def _scale(axis: Axis, values: Sequence[float]) -> _Scale:
    if axis.log:
        low, high = min(values), max(values)
        ticks = tuple(axis.ticks) or tuple(
            2.0**k for k in range(floor(log2(low)), ceil(log2(high)))
        )
        return _Scale(low / 1.25, high * 1.25, ticks, True)
    low, high = min(values), max(values)
    low = min(low, 0.0) if axis.zero else low
    if low == high:
        low, high = low - 0.5, high + 0.5
    if axis.ticks:
        margin = (high - low) * 0.04
        shown = tuple(value for value in axis.ticks if low <= value <= high)
        return _Scale(low - margin, high + margin, shown, False)
    step = nice_step((high - low) / 5.5)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = tuple(round(k * step, 12) for k in range(first, last + 1))
    return _Scale(ticks[0], ticks[-1], ticks, False)


def nice_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least ``rough``.

    >>> [nice_step(x) for x in (0.13, 2, 21, 70)]
    [0.2, 2.0, 50.0, 100.0]
    """
    unit = 10.0 ** floor(log10(rough))
    multiple = next(m for m in (1, 2, 5, 10) if m * unit >= rough * (1 - 1e-9))
    return round(multiple * unit, 12)


def _axes(frame: _Frame, x: Axis, y: Axis) -> Content:
    left, right = _LEFT, _WIDTH - _RIGHT
    bottom = _HEIGHT - _BOTTOM
    parts: list[Content] = []
    for value in frame.y.ticks:
        _, py = frame.at(frame.x.low, value)
        parts.append(tag("line", x1=left, x2=right, y1=py, y2=py, class_="grid"))
        parts.append(tag("text", _short(value), x=left - 7, y=py + 4, class_="tick end"))
    for value in frame.x.ticks:
        px, _ = frame.at(value, frame.y.low)
        parts.append(tag("line", x1=px, x2=px, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(tag("text", _short(value), x=px, y=bottom + 17, class_="tick middle"))
    parts.append(tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    middle = (left + right) / 2
    parts.append(tag("text", x.label, x=middle, y=_HEIGHT - 8, class_="name middle"))
    height = (_TOP + bottom) / 2
    turned = f"rotate(-90 13 {height})"
    parts.append(tag("text", y.label, x=13, y=height, class_="name middle", transform=turned))
    return parts


def _lines(frame: _Frame, k: int, series: Series) -> Html:
    places = [frame.at(x, y) for x, y in series.points]
    path = "M" + "L".join(f"{px},{py}" for px, py in places)
    parts: list[Content] = [tag("path", d=path, class_="line")]
    for (x, _), (low, high) in zip(series.points, series.spread, strict=False):
        (px, top), (_, bottom) = frame.at(x, high), frame.at(x, low)
        parts.append(tag("line", x1=px, x2=px, y1=top, y2=bottom, class_="spread"))
    for i, ((x, y), (px, py)) in enumerate(zip(series.points, places, strict=True)):
        if i in series.rings:
            parts.append(tag("circle", cx=px, cy=py, r=8, class_="ring"))
        told = tag("title", f"{series.name}: {_short(x)}, {_short(y)}")
        parts.append(
            tag("circle", told, cx=px, cy=py, r=3.5, class_="dot", data_x=repr(x), data_y=repr(y))
        )
    return tag("g", parts, class_=_colour(k))


def _box(frame: _Frame, box: Box, count: int) -> Html:
    least, lower, median, upper, most = box.numbers
    half = min(9.0, 0.32 * (_WIDTH - _LEFT - _RIGHT) / max(count, 2))
    px, top = frame.at(box.x, upper)
    at = {name: frame.at(box.x, v)[1] for name, v in (("m", median), ("l", lower), ("w", least))}
    highest = frame.at(box.x, most)[1]
    told = tag("title", f"{_short(box.x)}: median {median:.3f}, {least:.3f} to {most:.3f}")
    wide = {"x1": round(px - half, 2), "x2": round(px + half, 2)}
    rect = {"x": wide["x1"], "width": round(2 * half, 2), "height": round(at["l"] - top, 2)}
    return tag(
        "g",
        told,
        tag("line", x1=px, x2=px, y1=highest, y2=at["w"], class_="spread"),
        tag("rect", y=top, class_="box", **rect),
        tag("line", y1=at["m"], y2=at["m"], class_="line", data_median=repr(median), **wide),
        class_=_colour(1),
    )


def _colour(k: int) -> str:
    return f"s{k % COLOURS}" + (" dashed" if k >= COLOURS else "")


def _short(value: float) -> str:
    """Return a number as briefly as an axis needs it.

    >>> [_short(v) for v in (1, 0.25, 12000, 2.5e6, 64)]
    ['1', '0.25', '12k', '2.5M', '64']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}"
    return f"{value:.4g}"
