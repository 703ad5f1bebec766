"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=1,3,224,224",
        help="Size of an input whose size is symbolic; default: batch 1, image sides 224.",
    ),
]
JsonFile = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE|-", help="Write the result as JSON; - for stdout."),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|SPEC",
        help="cifar10, imagenet, imagenet-bgr, none, or mean=…;std=…;scale=…;size=…;crop=…;"
        "color=…;layout=….",
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Names of the classes in the order of the model's outputs, where sub-folders are the"
        " labels: a name per line, or JSON or YAML. Default: the model's metadata, else sorted"
        " order, of numbers by value.",
    ),
]
SkipBroken = Annotated[
    bool,
    typer.Option("--skip-broken", help="Leave out images that cannot be decoded; count them."),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="Images, labels not needed: FILE.npz, a folder or .tar, or package.module:function; or"
        " generated[:N], images made by formula where there are none.",
    ),
]
CalibrationSize = Annotated[
    int, typer.Option("--calibration-size", metavar="N", help="How many of them are used.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory for the activations of calibration images, such as 512M or 2G; the rest goes"
        " to a temporary file. Default: half of what is free.",
    ),
]
Recover = Annotated[
    Literal["auto", "none", "data-free", "batch-norm", "least-squares"],
    typer.Option(
        "--recover",
        help="Repair of accuracy after the cut; auto is least-squares with --calibration, else"
        " data-free.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Device whose rounding of widths applies: cpu, cuda, jetson-tx2, …."
    ),
]
Precision = Annotated[
    Literal["fp32", "fp16", "int8"] | None,
    typer.Option(help="What --target will compute in, where its rounding depends on that."),
]
WrittenPrecision = Annotated[
    Literal["fp32", "fp16", "int8"] | None,
    typer.Option(
        help="What the device computes in; default: the target's own. int8 needs --calibration."
    ),
]
RoundTo = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Kept channels of a layer become a multiple of N; default: --target's, and 8 where"
        " --latency-reduction is measured.",
    ),
]
CustomOps = Annotated[
    list[Path] | None,
    typer.Option(
        "--custom-ops",
        metavar="LIB",
        help="Library of custom operators that ONNX Runtime loads; repeatable.",
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing OUT.")]
Residual = Annotated[
    Literal["keep", "inner", "prune"],
    typer.Option(
        help="Channels that meet a residual Add: keep them; prune only inside the branches (inner);"
        " or prune coupled layers together."
    ),
]
NormStatistics = Annotated[
    Literal["kept", "lock"],
    typer.Option(
        "--norm-statistics",
        help="Channels over which a LayerNormalization, a mean, a norm or a maximum is taken: lock"
        " keeps them all; kept lets them go, and takes it over those that are left.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Prune only layers whose node name matches; repeatable."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Leave layers alone whose node name matches; repeatable."),
]


def check_json(where: str | None, *read: Path | None) -> None:
    """Refuse to write JSON over a file that is read, or that is no JSON; asked before all else."""
    from reprune_onnx.atomic import check_kind
    from reprune_onnx.errors import OutputError

    if where in (None, "-") or not Path(where or "").exists():
        return
    out = Path(where or "")
    check_kind(out)
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
