"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprune_onnx import choices

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")]
Original = Annotated[Path, typer.Argument(metavar="ORIGINAL", help="The model that was pruned.")]
Pruned = Annotated[
    Path,
    typer.Argument(metavar="PRUNED", help="The file that prune, recover or finetune wrote."),
]
ReportOfPruning = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Report that prune wrote; default: PRUNED with .report.json for .onnx.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
JsonFile = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE|-", help="Write the result as JSON; - writes it to stdout."
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Device to prepare for, such as jetson-tx2; `targets` lists them."
    ),
]
WrittenPrecision = Annotated[
    choices.Precision | None,
    typer.Option(
        help="Precision to compute in; default: the target's own. int8 needs --calibration."
    ),
]
CustomOps = Annotated[
    list[Path] | None,
    typer.Option(
        "--custom-ops",
        metavar="LIB",
        help="Library of custom operators for ONNX Runtime to load; repeatable.",
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing OUT.")]


def check_json(where: str | None, *read: Path | None) -> None:
    """Refuse to write JSON over a file that is read, or that is no JSON; asked before all else."""
    from reprune_onnx.atomic import check_folder, check_kind
    from reprune_onnx.errors import OutputError

    if where is None or where == "-":
        return
    out = Path(where)
    check_kind(out)
    check_folder(out)
    if not out.exists():
        return
    for path in read:
        if path is not None and path.exists() and out.samefile(path):
            raise OutputError(f"--json '{where}' is read, so it is never written to")
    with out.open("rb") as file:
        if file.read(1) not in (b"", b"{", b"["):
            raise OutputError(f"--json '{where}' exists and holds no JSON; give another name")


def emit_json(value: object, where: str | None) -> None:
    """Write JSON to a file, or to stdout for ``-``."""
    if where is None:
        return
    import json

    text = json.dumps(value, indent=2) + "\n"
    if where == "-":
        typer.echo(text, nl=False)
        return
    from reprune_onnx.atomic import write_atomically

    write_atomically(Path(where), text.encode())
