"""The list of commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from reprune_onnx.cli import (
    analyze,
    bench,
    build,
    bundle,
    convert,
    evaluate,
    finetune,
    prune,
    recover,
    report,
    sweep,
    targets,
    train,
    verify,
)
from reprune_onnx.cli.options import CustomOps

app = typer.Typer(
    name="reprune-onnx",
    help="Make convolutional, recurrent and dense networks smaller and faster, straight from the"
    " ONNX file.\n\nBegin with: reprune-onnx prune MODEL --macs-reduction 0.5",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich is slower to import than all the rest together
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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


def _with_custom_ops(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes ``--custom-ops`` too."""

    @wraps(command)
    def run(*args: Any, custom_ops: list[Path] | None = None, **given: Any) -> None:
        if not custom_ops:
            command(*args, **given)
            return
        from reprune_onnx.runtime.custom_ops import custom_ops as loaded

        with loaded(custom_ops):
            command(*args, **given)

    signature = inspect.signature(command, eval_str=True)
    extra = inspect.Parameter(
        "custom_ops", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=CustomOps
    )
    full = signature.replace(parameters=[*signature.parameters.values(), extra])
    run.__annotations__ = {p.name: p.annotation for p in full.parameters.values()}
    vars(run)["__signature__"] = full  # what typer makes options of
    return run


_RUNS_NOTHING = (report, targets)

for _command, _summary in (
    (analyze, "Show which channels can go, and why the others stay."),
    (prune, "Remove channels from a model, prove the cut, and repair accuracy."),
    (verify, "Check a pruned file against its original."),
    (recover, "Repair a pruned file from unlabelled images, without training."),
    (evaluate, "Measure accuracy, or agreement with the original."),
    (sweep, "Prune in several ways and to several sizes, and compare."),
    (finetune, "Train a pruned file on, in PyTorch."),
    (train, "Prune while training, as in the paper."),
    (targets, "List the devices that --target takes."),
    (convert, "Convert a model for a device: opset, ops, fp16 or int8."),
    (build, "Build a TensorRT engine for this GPU."),
    (bundle, "Pack models and scripts that build and measure them on a Jetson."),
    (bench, "Measure and compare the speed of models."),
    (report, "Show results on one HTML page."),
):
    _name = _command.__name__.rpartition(".")[2]
    _run = _command.command if _command in _RUNS_NOTHING else _with_custom_ops(_command.command)
    app.command(_name, short_help=_summary)(_run)
