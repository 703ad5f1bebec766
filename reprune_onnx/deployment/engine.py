"""`build`: a TensorRT engine, compared with ONNX Runtime before it counts as built.

The names used are those of TensorRT's Python API in 8.5, 8.6, 10 and 11; a test holds them against
the 8.5 wheel, and they were looked up in the published sources of 10 and 11. From version 10 on the
network is strongly typed: it computes in the types that the file states, which is all that version
11 knows.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from reprune_onnx.activations.images import Images
from reprune_onnx.atomic import write_atomically
from reprune_onnx.deployment.convert import Converted, convert
from reprune_onnx.deployment.references import ALLOWED, References, references
from reprune_onnx.errors import EngineError, ModelError, UsageError, VerificationError
from reprune_onnx.json_text import json_bytes
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.tensorrt import Engine, Gpu, about, load_plugins, require, this_gpu
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.targets import Target
from reprune_onnx.types import Model
from reprune_onnx.verification.compare import difference

_MIB = 2**20
_NO_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "could not be allocated")


@dataclass(frozen=True)
class BuildOptions:
    """``batches`` are the smallest, the best-tuned and the largest batch; None is 1, 8, 32.

    ``workspace_mib`` is the most that a layer may use while it computes, ``timing_cache`` a file
    that makes the next build of like layers quick.
    """

    precision: str | None = None
    batches: tuple[int, int, int] | None = None
    workspace_mib: int = 4096
    timing_cache: Path | None = None
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (
            self.batches is not None
            and not 1 <= self.batches[0] <= self.batches[1] <= (self.batches[2])
        ):
            raise UsageError(
                f"--batch-size {','.join(map(str, self.batches))}: give one number from 1 up, or"
                " three that do not fall: the smallest, the best tuned and the largest"
            )
        if self.workspace_mib < 1:
            raise UsageError(f"--workspace {self.workspace_mib}: at least 1 MiB")


def check_target(target: Target, precision: str | None) -> None:
    """Raise UsageError where engines for ``target`` are not built here."""
    if target.build.builder == "trtexec":
        raise UsageError(
            f"--target {target.name} builds its engines itself: use `reprune-onnx bundle`"
        )
    if target.build.builder == "onnxruntime":
        raise UsageError(
            f"--target {target.name} runs the ONNX file itself: use `reprune-onnx convert`"
        )
    target.precision(precision)


def build(
    model: Model, target: Target, out: Path, options: BuildOptions, images: Images | None = None
) -> dict[str, Any]:
    """Build ``out`` and ``out.json``; return what the latter says.

    The engine runs on the references of `references` before its files get their names. Raises
    EngineError where TensorRT, a GPU, the right GPU or memory is missing, ModelError where
    TensorRT's parser cannot have a node, VerificationError where the engine computes otherwise.
    """
    check_target(target, options.precision)
    require()
    gpu = this_gpu()
    if target.build.sm not in ("", gpu.sm):
        raise EngineError(
            f"--target {target.name} is sm {target.build.sm}, but this GPU, {gpu.name}, is sm"
            f" {gpu.sm}: engines are built on the GPU they run on (--target cuda takes any)"
        )
    shapes = options.input_shapes
    start = time.perf_counter()
    converted = convert(model, target, options.precision, input_shapes=shapes, images=images)
    in_float32 = as_float32(model.proto)
    taken = references(in_float32, shapes, images=images.batches[0] if images else None)
    batches = _batches(model, taken, options)
    data, version = _serialized(converted, taken, batches, options)
    facts = _facts(converted, target, gpu, version, batches, data)
    facts["seconds"] = round(time.perf_counter() - start, 1)
    partial = out.with_name(f".{out.name}.part")
    try:
        write_atomically(partial, data)
        _write_json(about(partial), facts)
        facts["check"] = _checked(partial, taken, converted.precision, gpu, batches)
        _write_json(about(partial), facts)
        about(partial).replace(about(out))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
        about(partial).unlink(missing_ok=True)
    return facts


def _batches(model: Model, taken: References, options: BuildOptions) -> tuple[int, int, int]:
    if taken.dynamic:
        return options.batches or (1, 8, 32)
    stated = (taken.images,) * 3
    if options.batches not in (None, stated):
        title = f"'{model.path}'" if model.path else "the model"
        raise ModelError(
            f"{title} has a fixed batch of {taken.images}, so --batch-size"
            f" {','.join(map(str, options.batches or ()))} cannot be built: export it with a"
            " symbolic batch (dynamic_axes or dynamic_shapes in PyTorch)"
        )
    return stated


def _serialized(
    converted: Converted, taken: References, batches: tuple[int, int, int], options: BuildOptions
) -> tuple[bytes, str]:
    """The engine, and TensorRT's version."""
    import tensorrt as trt

    messages: list[str] = []
    builder = _builder(trt, messages)
    major = int(str(trt.__version__).partition(".")[0])
    flag = trt.NetworkDefinitionCreationFlag
    typed = flag.STRONGLY_TYPED if major >= 10 else flag.EXPLICIT_BATCH
    network = builder.create_network(1 << int(typed))
    if converted.note is not None:
        load_plugins(trt)
    parser = trt.OnnxParser(network, _logger(trt, messages))
    if not parser.parse(converted.model.proto.SerializeToString()):
        errors = [parser.get_error(k) for k in range(parser.num_errors)]
        raise ModelError(_parser_error(errors, converted.model.proto, messages))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    if converted.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, with the mantissa of fp16
    elif major < 10:
        config.set_flag(getattr(trt.BuilderFlag, converted.precision.upper()))
    if taken.dynamic:
        profile = builder.create_optimization_profile()
        for name, shape in fitting_shapes(
            converted.model.proto, options.input_shapes
        ).shapes.items():
            profile.set_shape(name, *((n, *shape[1:]) for n in batches))
        config.add_optimization_profile(profile)
    cache = options.timing_cache
    if cache is not None:
        timings = cache.read_bytes() if cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(timings), False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(_build_error(messages, options))
    if cache is not None:
        write_atomically(cache, bytes(config.get_timing_cache().serialize()))
    return bytes(engine), str(trt.__version__)


def _builder(trt: Any, messages: list[str]) -> Any:
    try:
        return trt.Builder(_logger(trt, messages))
    except (RuntimeError, TypeError) as error:  # what a null pointer becomes
        said = _line(messages[0] if messages else str(error))
        raise EngineError(f"TensorRT does not start on this GPU: {said}") from error


def _logger(trt: Any, messages: list[str]) -> Any:
    """A logger that keeps what TensorRT says of errors, and prints nothing."""
    serious = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)

    def log(_self: Any, severity: Any, msg: str) -> None:
        if severity in serious:
            messages.append(msg)

    # Its base is known only where TensorRT is installed.
    return type("Log", (trt.ILogger,), {"__init__": trt.ILogger.__init__, "log": log})()


def _parser_error(errors: list[Any], proto: onnx.ModelProto, messages: list[str]) -> str:
    """The message of a parser error, with the op and the name of the node where these are known."""
    for error in errors:
        k = error.node()
        if 0 <= k < len(proto.graph.node):
            node = proto.graph.node[k]
            return f"TensorRT cannot have {node.op_type} '{node.name}': {_line(error.desc())}"
    said = [error.desc() for error in errors] + messages
    return f"TensorRT cannot read the model: {_line(said[0]) if said else 'it does not say why'}"


def _build_error(messages: list[str], options: BuildOptions) -> str:
    said = _line(messages[0]) if messages else "it does not say why"
    if any(sign in message.lower() for message in messages for sign in _NO_MEMORY):
        return (
            f"out of memory on the GPU while building ({said}): try a smaller --batch-size, or"
            f" --workspace below {options.workspace_mib} MiB"
        )
    return f"TensorRT cannot build the engine: {said}"


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _checked(
    path: Path, taken: References, precision: str, gpu: Gpu, batches: tuple[int, int, int]
) -> dict[str, float | None]:
    """Run the engine, and compare; the difference is None where no output has a reference."""
    n = min(max(taken.images, batches[0]), batches[2])
    feeds, expected = (
        {name: np.resize(a, (n, *a.shape[1:])) if taken.dynamic else a for name, a in part.items()}
        for part in (taken.inputs, taken.outputs)
    )
    engine = Engine(path, gpu)
    try:
        outputs = engine.run(feeds)
    finally:
        engine.close()
    missing = expected.keys() - outputs.keys()
    worst = difference(expected, outputs, list(expected)).relative
    allowed = ALLOWED[precision]
    if missing or worst > allowed:
        raise VerificationError(
            f"the engine's outputs differ from ONNX Runtime's by {worst:.3g} of their scale, more"
            f" than the {allowed:g} allowed: it is not written; build it in a higher precision"
            " (--precision)"
            if not missing
            else f"the engine lacks the outputs {', '.join(sorted(missing))}: it is not written"
        )
    return {"difference": worst if expected else None, "allowed": allowed}


def _facts(
    converted: Converted,
    target: Target,
    gpu: Gpu,
    version: str,
    batches: tuple[int, int, int],
    data: bytes,
) -> dict[str, Any]:
    return {
        "schema": 1,
        **converted.as_json(),
        "target": target.name,
        "tensorrt": version,
        "gpu": asdict(gpu),
        "batch_size": dict(zip(("min", "opt", "max"), batches, strict=True)),
        "engine": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
    }


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    write_atomically(path, json_bytes(facts))
