"""ONNX Runtime behind one class; imported when a session is made."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx import model as model_file
from reprune_onnx import near
from reprune_onnx.errors import KernelError, ModelError
from reprune_onnx.memory import available_memory
from reprune_onnx.runtime.custom_ops import register
from reprune_onnx.runtime.older_opsets import raised
from reprune_onnx.safe_inference import refuse_negative_extents
from reprune_onnx.types import Model, Shape

_SILENT = 4  # only what ends the process is logged; errors reach us as exceptions
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_TYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    **{name: np.dtype(name) for name in ("bool", "float16", *_INTEGERS)},
}
_NO_MEMORY = re.compile(r"Failed to allocate memory|bad_alloc|Available memory of \d+ is smaller")
_SHARED = 4 << 30  # bytes that sessions of one memory take at most
_UNKNOWN_OP = re.compile(r"\w:\w+\(.*\) is not a registered function/op")
_NO_KERNEL = "; load the library that has it with --custom-ops LIB"
_NO_IMPLEMENTATION = "Could not find an implementation"
_LONGEST = 300  # characters of ONNX Runtime's message that are repeated


@dataclass(frozen=True)
class Port:
    """An input or output. ``dtype`` is None for what numpy has no type for, such as a sequence.

    ``shape`` has None for a symbolic extent; () may also mean that the rank is unknown.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any] | None


CPU = "CPUExecutionProvider"
Use = Literal["alone", "in turns", "frugal", "one of many"]


class Session:
    """A model loaded into ONNX Runtime, without a word on stderr.

    One of opset 6 or older runs as a copy in opset 7 (`older_opsets`). ``optimize=False`` computes
    the graph as it stands in the file. ``threads`` is the number within an operation, 0 for all
    cores. ``outputs`` are the tensors that ``run`` returns, inner ones too; by default the graph's
    outputs. ``provider`` says on what, by default the CPU. ``use`` says what for. The threads of
    sessions that run "in turns" do not go on spinning, to be ready for more, while another one
    runs. "frugal" ones and each "one of many" take their memory from one place, of 4 GB or half of
    what is free: what needs more ends as a MemoryError at once. After the first run of each "one
    of many", and after every run of "frugal" ones, memory that is not in use goes back to the
    system. Raises ModelError where ONNX Runtime cannot load the model.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def __init__(
        self,
        model: onnx.ModelProto | str | Path,
        *,
        optimize: bool,
        threads: int = 0,
        outputs: Sequence[str] | None = None,
        provider: str = CPU,
        use: Use = "alone",
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        if use == "in turns":
            options.add_session_config_entry("session.force_spinning_stop", "1")
        if use in ("frugal", "one of many"):
            _share_memory()
            options.add_session_config_entry("session.use_env_allocators", "1")
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        )
        register(options)
        if isinstance(model, onnx.ModelProto):
            refuse_negative_extents(model)
        self._title, self._frugal = _title(model), use == "frugal"
        self._shrinks = use in ("frugal", "one of many")
        start = partial(self._started, options=options, provider=provider)
        try:
            self._session = start(model, outputs)
        except KernelError:
            if isinstance(model, onnx.ModelProto) or outputs is not None:
                raise
            proto = model_file.load(model).proto  # a file: only now it is worth reading it here
            if raised(proto) is proto:
                raise
            self._session = start(proto, outputs)
        self.inputs = tuple(_port(i) for i in self._session.get_inputs())
        ports = {o.name: _port(o) for o in self._session.get_outputs()}
        tensors = [o.name for o in self._session.get_outputs() if o.type.startswith("tensor(")]
        self._names = list(dict.fromkeys(tensors if outputs is None else outputs))
        self.outputs = tuple(ports[name] for name in (ports if outputs is None else outputs))

    def _started(
        self,
        model: onnx.ModelProto | str | Path,
        outputs: Sequence[str] | None,
        *,
        options: Any,
        provider: str,
    ) -> Any:
        """ONNX Runtime's own session."""
        import onnxruntime as ort

        with _loadable(model, outputs) as source:
            try:
                return ort.InferenceSession(source, options, providers=[provider])
            except Exception as error:  # its exceptions share no base class
                _raise_memory_error(error)
                reason = _reason(error)
                message = f"ONNX Runtime cannot load {self._title}: {reason}"
                if _UNKNOWN_OP.search(reason):
                    raise KernelError(f"{message}{_NO_KERNEL}") from error
                if _NO_IMPLEMENTATION in reason:
                    raise KernelError(message) from error
                raise ModelError(message) from error

    @property
    def provider(self) -> str:
        """The provider in use: the CPU where the requested one could not be started."""
        return str(self._session.get_providers()[0])

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs, or some of them, by name; ModelError where they cannot be computed.

        An output that is a sequence or a map is left out. MemoryError where activations do not fit.
        """
        names = self._names if outputs is None else list(outputs)
        if not names:
            return {}
        with self._told():
            values = self._stoppable(names, dict(feeds))
        return dict(zip(names, values, strict=True))

    def _stoppable(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run in a thread beside the main one, which alone hears Ctrl-C and then stops it."""
        import onnxruntime as ort

        options = ort.RunOptions()
        options.log_severity_level = _SILENT
        if self._shrinks:  # what one run has taken is free for the next, of whatever session
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            self._shrinks = self._frugal
        run = partial(self._session.run, names, feeds, options)
        if threading.current_thread() is not threading.main_thread():
            return list(run())
        with ThreadPoolExecutor(1) as beside:
            future = beside.submit(run)
            try:
                return list(future.result())
            finally:
                options.terminate = True

    def bind(self, feeds: Mapping[str, NDArray[Any]], device: str = "cpu") -> Bound:
        """Put the inputs on a ``device`` (cpu, cuda): every run of the result reads them there.

        Its runs are what is timed: nothing is done beside computing, so Ctrl-C waits for their end.
        """
        import onnxruntime as ort

        binding = self._session.io_binding()
        with self._told():
            for name, array in feeds.items():
                value = ort.OrtValue.ortvalue_from_numpy(array, device, 0)
                binding.bind_ortvalue_input(name, value)
            for name in self._names:
                binding.bind_output(name, device)
        return Bound(self, binding, tuple(self._names))

    def run_bound(self, binding: Any) -> None:
        """Compute what is bound; it is there when this returns. ModelError where it cannot be."""
        with self._told():
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # its exceptions share no base class
            _raise_memory_error(error)
            raise ModelError(f"ONNX Runtime cannot run {self._title}: {_reason(error)}") from error


@dataclass(frozen=True)
class Bound:
    """A session with its inputs where they are computed on."""

    session: Session
    binding: Any
    names: tuple[str, ...]

    def run(self) -> None:
        """One run, finished when this returns."""
        self.session.run_bound(self.binding)

    def outputs(self) -> dict[str, NDArray[Any]]:
        """The outputs of the last run."""
        return dict(zip(self.names, self.binding.copy_outputs_to_cpu(), strict=True))


def with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of the model whose outputs include the tensors ``names``.

    Raises ModelError for a name that no node of the main graph computes.
    """
    have = {output.name for output in proto.graph.output}
    computed = {name for node in proto.graph.node for name in node.output if name}
    for name in names:
        if name not in have | computed:
            meant = near.hint(name, computed) or "; name the output of a node"
            raise ModelError(f"no node of the graph computes '{name}'{meant}")
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    extra = [name for name in dict.fromkeys(names) if name not in have]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in extra)
    return copy


@cache
def _share_memory() -> None:
    """Make the memory that sessions share; once, for ONNX Runtime keeps it to the end.

    It grows by what is asked for, not to the next power of two.
    """
    import onnxruntime as ort

    kind, use = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    most = min(_SHARED, available_memory() // 2)
    growth = ort.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": 1})
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, use), growth)


def _raise_memory_error(error: Exception) -> None:
    if _NO_MEMORY.search(str(error)):
        raise MemoryError(_reason(error)) from error


@contextmanager
def _loadable(
    model: onnx.ModelProto | str | Path, outputs: Sequence[str] | None
) -> Iterator[bytes | str]:
    """Give what ONNX Runtime loads: a path, or bytes, or a passing file for too many of these."""
    if not isinstance(model, onnx.ModelProto):
        if outputs is None:
            yield str(model)
            return
        model = model_file.load(model).proto
    model = raised(model)
    if set(outputs or ()) - {output.name for output in model.graph.output}:
        model = with_outputs(model, outputs or ())
    if model_file.size(model) <= model_file.LIMIT:
        yield model.SerializeToString()
        return
    with tempfile.TemporaryDirectory(prefix="reprune-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        model_file.save(Model(model), path)
        yield str(path)


def _port(argument: Any) -> Port:
    inner = re.fullmatch(r"tensor\((\w+)\)", argument.type)
    shape = tuple(d if isinstance(d, int) and d > 0 else None for d in argument.shape)
    return Port(argument.name, shape, _TYPES.get(inner[1]) if inner else None)


def numpy_type(elem_type: int) -> np.dtype[Any] | None:
    """Return numpy's type for ONNX's ``elem_type``; None where numpy itself has none."""
    return _TYPES.get(onnx.TensorProto.DataType.Name(elem_type).lower())


def _title(model: onnx.ModelProto | str | Path) -> str:
    if isinstance(model, onnx.ModelProto):
        return f"the model '{model.graph.name}'" if model.graph.name else "the model"
    return f"'{model}'"


def _reason(error: Exception) -> str:
    """Return what ONNX Runtime says, in one line, without its own file names and advice."""
    text = " ".join(str(error).split())
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^Load model from .*? failed: ?", "", text)
    text = re.sub(r"\S*/onnxruntime/\S+\.(cc|h):\d+ ", "", text)
    text = text.replace("Please fix either the inputs/outputs or the model.", "").strip()
    text = text or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
