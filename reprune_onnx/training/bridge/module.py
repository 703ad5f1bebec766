"""An ONNX graph as a PyTorch module, whose state carries the names that the file uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reprune_onnx.errors import ModelError
from reprune_onnx.training.bridge.node import Function, Mode


@dataclass(frozen=True)
class NodeCall:
    """One node: tensors by name in and out; after it, ``free`` are no longer needed."""

    title: str
    function: Function
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free: tuple[str, ...]


class OnnxModule(nn.Module):
    """Computes the graph's outputs from its inputs, in float32, in the order of the file's nodes.

    Parameters and buffers are keyed by the name of the initializer (or of the Constant node's
    output) that holds them, whatever it is. Integers stay on the CPU.
    """

    def __init__(
        self, steps: Iterable[NodeCall], inputs: list[str], outputs: list[str], mode: Mode
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_names, self.output_names = inputs, outputs
        self._steps = list(steps)
        self._slots: dict[str, tuple[nn.Module, str]] = {}
        self._fixed: dict[str, Tensor] = {}
        self._bodies: dict[str, OnnxModule] = {}
        self.eval()

    # ── state ───────────────────────────────────────────────────────────────────────────────

    def hold(self, name: str, array: NDArray[Any], kind: str) -> None:
        """Keep a constant: ``trained``, ``stays`` (in the state, no gradient) or ``computed``."""
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            self._fixed[name] = torch.from_numpy(np.array(array))
            return
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
        owner, leaf = self._place(name)
        if kind == "trained":
            owner._parameters[leaf] = nn.Parameter(tensor)
        else:
            owner._buffers[leaf] = tensor
        if kind == "computed":
            owner._non_persistent_buffers_set.add(leaf)
        self._slots[name] = owner, leaf

    def hold_body(self, output: str, branch: str, body: OnnxModule) -> None:
        """Keep a branch of the If that makes ``output``; its state is under both names."""
        owner, leaf = self._place(f"{output}.{branch}")
        owner._modules[leaf] = body
        self._bodies[f"{output}.{branch}"] = body

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """The module and key for ``name``: what stands between two dots is a module, as in PyTorch.

        Tensors are put into the modules' own tables, because those take any name, while
        ``register_parameter`` refuses empty ones and those that a module needs itself.
        """
        owner: nn.Module = self
        *path, leaf = name.split(".")
        for part in path:
            inner = owner._modules.get(part)
            if inner is None:
                inner = owner._modules[part] = nn.Module()
            owner = inner
        return owner, leaf

    def values(self) -> Mapping[str, Tensor]:
        """The parameters and buffers of the state by name: what the file holds."""
        values = {name: value for name, value in self._constants() if self._is_held(name)}
        for place, body in self._bodies.items():
            values |= {f"{place}.{name}": value for name, value in body.values().items()}
        return values

    def _is_held(self, name: str) -> bool:
        owner, leaf = self._slots[name]
        return leaf not in owner._non_persistent_buffers_set

    def _constants(self) -> Iterator[tuple[str, Tensor]]:
        for name, (owner, leaf) in self._slots.items():
            table = owner._parameters if leaf in owner._parameters else owner._buffers
            value = table[leaf]
            assert value is not None
            yield name, value

    # ── computing ───────────────────────────────────────────────────────────────────────────

    def train(self, mode: bool = True) -> OnnxModule:
        """Switch between training and inference: BatchNormalization and Dropout differ."""
        super().train(mode)
        self.mode.training = mode
        return self

    def forward(self, *inputs: Tensor | Mapping[str, Tensor]) -> Tensor | tuple[Tensor, ...]:
        """The outputs in the graph's order; one alone is not a tuple.

        ``inputs`` are tensors in the graph's order, or one mapping that has each by its name.
        Raises ModelError, naming the node, where something does not fit.
        """
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        for named in inputs:
            if isinstance(named, Mapping):
                tensors = [named[name] for name in self.input_names]
        self.mode.batch = tensors[0].shape[0] if tensors and tensors[0].ndim else None
        return self.computed(*tensors)

    def computed(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As `forward`, of a body in the batch of the graph around it."""
        tensors: dict[str, Tensor] = dict(self._fixed)
        tensors.update(self._constants())
        for name, x in zip(self.input_names, inputs, strict=True):
            tensors[name] = x.float() if x.is_floating_point() else x
        for step in self._steps:
            args = [tensors[name] if name else None for name in step.inputs]
            try:
                made = step.function(*args)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError, IndexError) as error:
                raise self._failed(step, error) from error
            if isinstance(made, Tensor):
                tensors[step.outputs[0]] = made
            else:
                tensors.update(zip(step.outputs, made, strict=False))
            for name in step.free:
                tensors.pop(name, None)
        results = tuple(tensors[name] for name in self.output_names)
        return results[0] if len(results) == 1 else results

    def _failed(self, step: NodeCall, error: Exception) -> ModelError:
        reason = " ".join(str(error).split())[:200]
        stated, batch = self.mode.stated_batch, self.mode.batch
        if stated not in (None, batch):
            return ModelError(
                f"{step.title} does not take a batch of {batch}, as the file was exported for"
                f" batches of {stated}: export it with a dynamic batch, or use --batch-size"
                f" {stated} ({reason})"
            )
        return ModelError(f"{step.title} fails in PyTorch: {reason}")
