"""`bundle`: a folder that builds and measures models on a device that cannot run this tool."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer import analyze
from reprune_onnx.atomic import check_folder, write_atomically
from reprune_onnx.data.reading import Reading
from reprune_onnx.deployment.convert import convert
from reprune_onnx.deployment.files import calibrated, read
from reprune_onnx.deployment.references import ALLOWED, References, references
from reprune_onnx.errors import ModelError, OutputError, UsageError
from reprune_onnx.json_text import json_bytes
from reprune_onnx.model import save
from reprune_onnx.targets import Target, shipped_folder
from reprune_onnx.tool import this_tool
from reprune_onnx.types import Model
from reprune_onnx.watch import Progress

_BATCHES = (1, 2, 4, 8, 16, 32)
_WORKSPACE_MIB = 1024


@dataclass(frozen=True)
class BundleOptions:
    """The contents of a bundle: ``batches`` None is a sweep from 1 to 32, or a model's own batch.

    ``precisions`` empty is all of the target's, int8 only with ``calibration`` images.
    """

    batches: tuple[int, ...] | None = None
    precisions: tuple[str, ...] = ()
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    calibration: str | None = None
    calibration_size: int = 512
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        for batch in self.batches or ():
            if batch < 1:
                raise UsageError(f"--batch-size {batch}: a batch has at least 1 image")


def bundle(
    models: Sequence[Path],
    target: Target,
    out: Path,
    options: BundleOptions,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the folder ``out``, and return what its bundle.json says.

    Every model is converted for ``target`` and compared with the original first (`convert`). Raises
    UsageError where the target is not built for on a device, ModelError for a batch that a model
    does not take, OutputError where ``out`` exists. Nothing is left where something fails.
    """
    if target.build.builder != "trtexec":
        raise UsageError(
            f"--target {target.name} is not built for by a bundle: use `reprune-onnx build`"
            if target.build.builder == "tensorrt"
            else f"--target {target.name} runs the ONNX file itself: use `reprune-onnx convert`"
        )
    _check(out)
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        manifest = _write(models, target, partial, options, progress)
        partial.rename(out)
    except OSError as error:
        raise OutputError(f"cannot write '{out}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _check(out: Path) -> None:
    if out.exists():
        raise OutputError(f"'{out}' exists; give the name of a folder that does not")
    check_folder(out)


def _write(
    models: Sequence[Path],
    target: Target,
    folder: Path,
    options: BundleOptions,
    progress: Progress | None,
) -> dict[str, Any]:
    folder.mkdir()
    shutil.copytree(
        shipped_folder("jetson") / "scripts",
        folder / "scripts",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(shipped_folder("jetson") / "run.sh", folder)
    (folder / "models").mkdir()
    entries: list[dict[str, Any]] = []
    for k, path in enumerate(models):
        name = _name(path, [e["name"] for e in entries])
        entries.append(_model(path, name, target, folder, options))
        if progress is not None:
            progress("converting", k + 1, len(models))
    manifest = {
        "schema": 1,
        "tool": this_tool(),
        "target": target.name,
        "device": target.description.partition(" (")[0],
        "sm": target.build.sm,
        "tensorrt": target.build.tensorrt,
        "cores": target.build.cores,
        "workspace": target.build.workspace,
        "workspace_mib": _WORKSPACE_MIB,
        "build_only": target.build.build_only,
        "allowed": ALLOWED,
        "models": entries,
    }
    write_atomically(folder / "bundle.json", json_bytes(manifest))
    _write_readme(folder, target, manifest)
    return manifest


def _model(
    path: Path, name: str, target: Target, folder: Path, options: BundleOptions
) -> dict[str, Any]:
    """Write the models and references of ``path``; return its entry in bundle.json."""
    model = read(path)
    size, how = options.calibration_size, options.reading
    images = calibrated(model, options.calibration, size, how, options.input_shapes)
    names = options.precisions or [p for p in target.precisions if p != "int8" or images]
    precisions = [target.precision(p) for p in names]
    shapes = options.input_shapes
    description = convert(model, target, "fp32", input_shapes=shapes)
    save(description.model, folder / "models" / f"{name}.onnx")
    files = dict.fromkeys(precisions, f"models/{name}.onnx")  # those that are flags share one
    if "int8" in precisions:
        files["int8"] = f"models/{name}-int8.onnx"
        converted = convert(model, target, "int8", input_shapes=shapes, images=images)
        save(converted.model, folder / files["int8"])
    taken = references(
        description.model.proto, options.input_shapes, images=images.batches[0] if images else None
    )
    return {
        "name": name,
        "files": files,
        "precisions": precisions,
        "source": {"path": path.name, "sha256": model.sha256},
        "pruned_from": _pruned_from(model),
        "dynamic": taken.dynamic,
        "batches": _batches(path, taken, options),
        "images": taken.images,
        **_ports(taken, name, folder),
        "layers": _layers(model),
        "opset": description.as_json()["opset"],
        "ir": description.model.proto.ir_version,
        "rewritten": description.rewritten,
        "difference": description.difference,
        "note": description.note,
    }


def _batches(path: Path, taken: References, options: BundleOptions) -> list[int]:
    if taken.dynamic:
        return sorted(set(options.batches or _BATCHES))
    wrong = [b for b in options.batches or () if b != taken.images]
    if wrong:
        raise ModelError(
            f"'{path}' has a fixed batch of {taken.images}, so --batch-size {wrong[0]} cannot be"
            " measured: export it with a symbolic batch (dynamic_axes or dynamic_shapes in"
            f" PyTorch), or leave --batch-size {taken.images}"
        )
    return [taken.images]


def _ports(taken: References, name: str, folder: Path) -> dict[str, Any]:
    """Write the references; inputs and outputs as bundle.json has them."""
    where = Path("reference") / name
    (folder / where).mkdir(parents=True)
    ports: dict[str, Any] = {"inputs": [], "outputs": []}
    for kind, arrays in (("inputs", taken.inputs), ("outputs", taken.outputs)):
        for k, (port, array) in enumerate(arrays.items()):
            file = where / f"{kind[:-1]}{k}.bin"
            write_atomically(folder / file, array.astype("<f4").tobytes())
            extents = [None if taken.dynamic else taken.images, *array.shape[1:]]
            ports[kind].append({"name": port, "shape": extents, "reference": file.as_posix()})
    return ports


def _layers(model: Model) -> list[dict[str, object]]:
    """The layers by the names that `prune --latency-table` looks for."""
    try:
        channels = analyze(model)
    except ModelError:  # nothing to prune, so nobody asks for times of its layers
        return []
    return [
        {"layer": layer.name, "rows": layer.shape[0], "columns": int(np.prod(layer.shape[1:2]))}
        for layer in channels.layers
    ]


def _pruned_from(model: Model) -> str | None:
    return _metadata(model.proto).get("reprune_onnx.source_sha256")


def _metadata(proto: onnx.ModelProto) -> dict[str, str]:
    return {p.key: p.value for p in proto.metadata_props}


def _name(path: Path, taken: Sequence[str]) -> str:
    """A name for files and cases, of letters that no shell minds."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in path.stem)
    name, k = stem, 1
    while name in taken:
        k += 1
        name = f"{stem}_{k}"
    return name


def _write_readme(folder: Path, target: Target, manifest: dict[str, Any]) -> None:
    lines = [_line(m) for m in manifest["models"]]
    text = (shipped_folder("jetson") / "README.md").read_text(encoding="utf-8")
    values = {
        "target": target.name,
        "version": manifest["tool"]["version"],
        "tensorrt": target.build.tensorrt,
        "jetpack": f"JetPack {target.build.jetpack}",
        "cores": target.build.cores or "whichever the system gives it",
        "models": "\n".join(lines),
    }
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    write_atomically(folder / "README.md", text.encode())


def _line(m: dict[str, Any]) -> str:
    batches = ", ".join(map(str, m["batches"]))
    return (
        f"- `{m['name']}`: {', '.join(m['precisions'])} at batch {batches}; opset {m['opset']}, IR"
        f" {m['ir']}, differs from the original by {m['difference']:.1g} of its output's scale"
    )
