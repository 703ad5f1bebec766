"""`reprune-onnx report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprune_onnx.cli.options import Force, Quiet
from reprune_onnx.printable import printable


def command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="JSON files of prune, finetune, train, evaluate, analyze, sweep or bench, or"
            " results.json of a bundle; one or more.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="REPORT.html", help="Page to write.")],
    title: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Title of the page; default: named after the model."),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Show results on one HTML page, which needs no network and no other file."""
    from reprune_onnx.atomic import check_out, write_atomically
    from reprune_onnx.report.page.build import html_report

    check_out(out, files, force=force)
    write_atomically(out, html_report(files, title).encode(errors="backslashreplace"))
    if not quiet:
        typer.echo(printable(f"wrote {out}"))
