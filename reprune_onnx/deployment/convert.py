"""`convert`: a file that suits a target, in a precision, shown to compute the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import onnx

from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer.quantized import counted, quantized_nodes
from reprune_onnx.deployment import half as float16
from reprune_onnx.deployment import quantize as int8
from reprune_onnx.deployment.equal import ALLOWED, compare
from reprune_onnx.deployment.lower import Lowered, Rewritten, lower
from reprune_onnx.deployment.measured_on import measured_on
from reprune_onnx.deployment.rounded import rounded
from reprune_onnx.errors import ModelError, UsageError, VerificationError
from reprune_onnx.model import size
from reprune_onnx.note import Note
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.tail import find_tail, head_of
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.targets import Target
from reprune_onnx.tool import this_tool
from reprune_onnx.types import Model


@dataclass(frozen=True)
class Converted:
    """A file for a target.

    ``difference`` is the largest of an output relative to its scale, on random inputs, of the file
    before int8; ``error`` is that of int8 on the calibration images, see `quantize.output_error`.
    ``flag`` is the precision that building an engine has to ask for, where the file does not.
    ``beyond`` are the nodes that float16 has no range for: they stay float32 where the file states
    its types, and overflow on the device where a flag does. ``notes`` are all that is
    said of images and model; ``note`` is the one of a model that ends in ops which ONNX Runtime
    lacks: nothing of them is compared.
    """

    model: Model
    precision: str
    flag: str
    rewritten: Rewritten
    difference: float
    allowed: float
    error: float | None = None
    beyond: tuple[float16.Beyond, ...] = ()
    note: Note | None = None
    notes: tuple[Note, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what was done, in JSON's types."""
        opset = next(o.version for o in self.model.proto.opset_import if not o.domain)
        return {
            "tool": this_tool(),
            "source": {"path": str(self.model.path or ""), "sha256": self.model.sha256},
            "precision": self.precision,
            "flag": self.flag,
            "opset": opset,
            "ir": self.model.proto.ir_version,
            "rewritten": self.rewritten,
            "difference": self.difference,
            "allowed": self.allowed,
            "int8_error": self.error,
            "beyond_float16": [node.as_json() for node in self.beyond],
            "note": self.note,
            "notes": list(self.notes),
        }


def convert(
    model: Model,
    target: Target,
    precision: str | None = None,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    images: Images | None = None,
) -> Converted:
    """Make ``model`` ready for ``target``, in its default precision unless one is given.

    * Opset, IR version and ops come within the target's limits (`lower`), and ONNX Runtime shows
      that this changed nothing, to 1e-4 of an output's scale.
    * ``fp16`` goes into the file where the target goes by the file's types, else it stays a flag.
      Nodes that it has no range for are found on ``images`` and on random inputs, and stay float32
      in the file. It is compared on ``images`` where they are given, with every result rounded.
    * ``int8`` is measured on ``images``; UsageError without them.

    Raises ModelError where the target cannot have the model, VerificationError where the result
    differs, UsageError where the target has no such precision.
    """
    made = _made(model, target, precision, input_shapes, images)
    return made if images is None else replace(made, notes=(*images.notes, *made.notes))


def _made(
    model: Model,
    target: Target,
    precision: str | None,
    input_shapes: Mapping[str, tuple[int, ...]] | None,
    images: Images | None,
) -> Converted:
    chosen = target.precision(precision)
    if chosen == "int8" and images is None:
        raise UsageError("--precision int8 needs images to measure ranges on: give --calibration")
    nodes = quantized_nodes(model.proto)
    if nodes:
        raise ModelError(
            f"the model is quantized ({counted(nodes)}): convert the float model it was made from,"
            " with --precision int8"
        )
    # ONNX Runtime's CPU runs neither double nor bfloat16: the float32 copy is what is compared.
    model = replace(model, proto=as_float32(model.proto))
    lowered = lower(model, target.limits, target.name)
    tail = find_tail(lowered.model)
    if tail is None:
        return _converted(model, lowered, target, chosen, input_shapes or {}, images)
    head = replace(lowered, model=tail.head)
    done = _converted(head_of(model), head, target, chosen, input_shapes or {}, images)
    return replace(done, model=tail.put_back(done.model), note=tail.note, notes=(tail.note,))


def _converted(
    model: Model,
    lowered: Lowered,
    target: Target,
    chosen: str,
    input_shapes: Mapping[str, tuple[int, ...]],
    images: Images | None,
) -> Converted:
    """The file for a target of a model that ONNX Runtime can run, in the precision asked."""
    shapes = fitting_shapes(model.proto, input_shapes).shapes
    worst = compare(model.proto, lowered.model.proto, shapes)
    flag = chosen if target.limits.types == "flags" and chosen != "fp32" else ""
    if chosen == "int8" and images is not None:
        return _in_int8(model, lowered, target, images, flag, worst)
    if chosen == "fp16":
        feeds = partial(measured_on, model.proto, shapes, images)
        if flag:
            beyond = float16.beyond_half(lowered.model, feeds)
            out = _stamped(lowered.model, target, chosen)
            return Converted(out, chosen, flag, lowered.rewritten, worst, ALLOWED, None, beyond)
        halved = float16.half(lowered.model, feeds)
        worst = _compared(model, halved.model, shapes, images)
        out = _stamped(halved.model, target, chosen)
        facts = (lowered.rewritten, worst, float16.ALLOWED, None, halved.beyond)
        return Converted(out, chosen, "", *facts)
    out = _stamped(lowered.model, target, chosen)
    return Converted(out, chosen, flag, lowered.rewritten, worst, ALLOWED)


def _compared(
    model: Model, converted: Model, shapes: Mapping[str, tuple[int, ...]], images: Images | None
) -> float:
    """By how much float16 differs, rounded as it will be: on images, else on random inputs."""
    allowed = float16.ALLOWED
    as_run = rounded(converted.proto)
    if images is None:
        try:
            return compare(model.proto, as_run, shapes, allowed)
        except VerificationError as error:
            raise VerificationError(
                f"{error} (random inputs may be beyond what the network takes: compare on images"
                " with --calibration, or use --precision fp32)"
            ) from error
    off = int8.output_error(model.proto, as_run, images, "tensorrt")
    if not off <= allowed:
        raise VerificationError(
            f"fp16 changes the output by {off:.1%} on the calibration images, more than the"
            f" {allowed:.0%} allowed: use --precision fp32"
        )
    return off


def _in_int8(
    model: Model, lowered: Lowered, target: Target, images: Images, flag: str, worst: float
) -> Converted:
    quantized = int8.quantize(lowered.model, images, target.build.builder)
    if not quantized_nodes(quantized.proto):
        raise ModelError(
            "ONNX Runtime quantizes none of the model's nodes, so nothing of it would be int8: use"
            " --precision fp32 or fp16"
        )
    again = (
        lower(quantized, target.limits, target.name) if target.limits.ir else Lowered(quantized, [])
    )
    error = int8.output_error(model.proto, again.model.proto, images, target.build.builder)
    out = _stamped(again.model, target, "int8")
    return Converted(out, "int8", flag, lowered.rewritten, worst, ALLOWED, error)


def _stamped(model: Model, target: Target, precision: str) -> Model:
    """The model, with what it was converted for in its metadata beside what was there."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    value = json.dumps({"target": target.name, "precision": precision}, sort_keys=True)
    kept = [p for p in proto.metadata_props if p.key != "reprune_onnx.converted"]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.metadata_props.add(key="reprune_onnx.converted", value=value)
    return Model(proto, model.path, model.sha256, size(proto), model.files)
