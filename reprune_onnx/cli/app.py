"""The list of commands."""

from __future__ import annotations

import typer

from reprune_onnx.cli import analyze, evaluate, prune, recover, sweep, verify

app = typer.Typer(
    name="reprune-onnx",
    help="Make convolutional networks smaller and faster, straight from the ONNX file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from reprune_onnx import __version__

        typer.echo(f"reprune-onnx {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    del version


app.command("analyze")(analyze.command)
app.command("prune")(prune.command)
app.command("verify")(verify.command)
app.command("recover")(recover.command)
app.command("evaluate")(evaluate.command)
app.command("sweep")(sweep.command)
