"""Trained weights from PyTorch files, in the layouts that are in use, matched to a network."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from reprune_onnx.errors import ModelError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")
_PREFIXES = ("module.", "model.", "_orig_mod.")
COUNTER = "num_batches_tracked"  # of BatchNormalization: no value of the network

# What others call a tensor, as patterns, and what it is called here.
CIFAR_NAMES = (
    (r"\.(?:downsample|shortcut)\.0\.", r".shortcut.conv."),
    (r"\.(?:downsample|shortcut)\.1\.", r".shortcut.bn."),
    (r"^(?:fc|classifier)\.", "linear."),
)
SSD_NAMES = ((r"^feature_extractor\.feature_extractor\.", "backbone."),)
MASK_NAMES = (  # torchvision's own, of before 0.13
    (r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"),
    (r"^(backbone\.fpn\.\w+_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    *((rf"^(roi_heads\.mask_head)\.mask_fcn{k + 1}\.", rf"\1.{k}.0.") for k in range(4)),
)


def read_checkpoint(path: Path, names: tuple[tuple[str, str], ...] = ()) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without wrappers and prefixes, renamed by ``names``.

    Read with ``weights_only=True``: a file that would run code is refused. Raises ModelError in one
    line for a file that is no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"there is no checkpoint '{path}'") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).split(". ")[0][:160]
        raise ModelError(
            f"'{path}' cannot be read as a checkpoint of tensors alone: {reason}; save its"
            " state_dict() with torch.save"
        ) from error
    state = _tensors(content)
    if not state:
        raise ModelError(f"'{path}' holds no tensors by name; save a state_dict() with torch.save")
    while (prefix := _prefix(state)) is not None:
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    for pattern, name in names:
        state = {re.sub(pattern, name, key): tensor for key, tensor in state.items()}
    return state


def _tensors(content: object) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        state = {
            str(name): value
            for name, value in content.items()
            if isinstance(value, Tensor) and not str(name).endswith(COUNTER)
        }
        inner = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)), None)
        if inner is None:
            return state
        content = inner
    return {}


def _prefix(state: Mapping[str, Tensor]) -> str | None:
    return next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)


def check_fits(
    state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], what: tuple[Path | str, str]
) -> None:
    """Raise ModelError in one line where the tensors are not those of the network.

    ``wanted`` are its shapes by name; ``what`` is the file and the network's name.
    """
    missing = [name for name in wanted if name not in state]
    more = [name for name in state if name not in wanted]
    other = [
        (name, tuple(state[name].shape), shape)
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors are missing, such as '{missing[0]}'")
    if more:
        problems.append(f"{len(more)} have no place, such as '{more[0]}'")
    if other:
        name, shape_there, shape = other[0]
        problems.append(
            f"{len(other)} have another shape, such as '{name}' with {list(shape_there)} instead of"
            f" {list(shape)}"
        )
    if problems:
        path, network = what
        raise ModelError(f"'{path}' is not a checkpoint of {network}: {'; '.join(problems)}")
