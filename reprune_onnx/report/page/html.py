"""HTML as values: text becomes markup nowhere but here, and is escaped here."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from html import escape
from shlex import quote

_VOID = {"meta", "br", "col", "circle", "line", "path", "rect"}


class Html(str):
    """Markup that is finished: it is not escaped again."""

    __slots__ = ()


Content = str | int | float | None | Iterable["Content"]


def tag(name: str, /, *content: Content, **attributes: str | int | float | None) -> Html:
    """Return an element; an attribute ``class_`` is ``class``, ``data_x`` is ``data-x``.

    Text is escaped unless it is `Html`; lists are spread; None adds nothing.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not content:
        return Html(f"<{name}{given}>" if name in ("meta", "br", "col") else f"<{name}{given}/>")
    return Html(f"<{name}{given}>{_joined(content)}</{name}>")


def _joined(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, (str, int, float)):
        return escape(str(content))
    return "".join(_joined(part) for part in content)


def number(value: float | None, form: str = ",", unit: str = "") -> Html:
    """A number as it is read, with its value as it stands in the file; – for None.

    >>> number(896096)
    '<data value="896096">896,096</data>'
    >>> number(0.5521, ".1%")
    '<data value="0.5521">55.2%</data>'
    """
    if value is None:
        return Html("–")
    return tag("data", f"{value:{form}}{unit}", value=repr(value))


def table(
    heads: Iterable[Content], rows: Iterable[Iterable[Content]], right: Container[int], **more: str
) -> Html:
    """A table that scrolls by itself where it is too wide; columns ``right`` hold numbers."""

    def cells(kind: str, row: Iterable[Content], **more: str) -> list[Html]:
        return [
            tag(kind, cell, class_="n" if k in right else None, **more)
            for k, cell in enumerate(row)
        ]

    head = tag("thead", tag("tr", cells("th", heads, scope="col")))
    body = tag("tbody", [tag("tr", cells("td", row)) for row in rows])
    return tag("div", tag("table", head, body, **more), class_="scroll")


def terminal(lines: Iterable[Sequence[str]]) -> Html:
    """Commands, word by word, to be copied: a line is broken between words only.

    >>> terminal([["ls", "a b"]])
    '<div class="terminal"><div><span>ls</span> <span>&#x27;a b&#x27;</span></div></div>'
    """
    return tag(
        "div",
        [tag("div", Html(" ".join(tag("span", quote(word)) for word in line))) for line in lines],
        class_="terminal",
    )


def section(title: str, *content: Content, id_: str) -> Html:
    """A part of the page under a heading."""
    return tag("section", tag("h2", title), *content, id=id_)
