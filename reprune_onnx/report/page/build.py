"""The page as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reprune_onnx.report.page.accuracy import evaluations, trainings
from reprune_onnx.report.page.commands import commands
from reprune_onnx.report.page.html import Html, tag
from reprune_onnx.report.page.pruning import analyses, summaries
from reprune_onnx.report.page.sources import Sources, read_sources
from reprune_onnx.report.page.sweep import sweeps
from reprune_onnx.report.page.throughput import throughput

_STYLE = Path(__file__).with_name("style.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The policy for browsers: the page may load nothing."""
_PARTS = (summaries, analyses, evaluations, throughput, trainings, sweeps, commands)


def html_report(files: Sequence[str | Path], title: str | None = None) -> str:
    """Return an HTML page about result files of the other commands; it needs no other file.

    Raises DataError for a file that is no such result, or of another schema.
    """
    sources = read_sources(Path(file) for file in files)
    title = title or _title(sources)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    names = [tag("li", tag("code", file.name)) for file in sources.files]
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("ul", names, class_="files")),
        tag("main", [part(sources) for part in _PARTS]),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _title(sources: Sources) -> str:
    """Named after the model that was pruned, or else after what there is."""
    for kind in ("prune", "training"):
        for source in sources.of(kind):
            return f"{Path(source.data['source']['path']).stem}: pruning report"
    return "Pruning report"
