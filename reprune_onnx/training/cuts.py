"""The cuts of a report, made in values outside the file: weights, statistics, momentum.

>>> report = {"cuts": [{"initializer": "conv.weight", "axis": 0, "keep": [0, 2]}]}
>>> apply_cuts(report, {"conv.weight": torch.arange(3.0)})
{'conv.weight': tensor([0., 2.])}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.earlier import check_basis, earlier_report
from reprune_onnx.results import TensorCut

State = dict[str, Tensor]


def apply_cuts(
    report: Mapping[str, Any], state_dict: Mapping[str, Tensor], strict: bool = True
) -> State:
    """``state_dict`` with the cuts that ``report`` (of `prune` or `train`) names.

    The tensors must be called, and laid out, as the file's initializers are, which those of a
    PyTorch export are where no BatchNormalization was folded. A tensor that no cut names stays; one
    that the file duplicated gets its copies. Raises SelectionError where a tensor is missing (with
    ``strict=False`` that cut is left out) or is too short for a cut, and where branches went whole.
    """
    check_basis(earlier_report(report), "report")
    cuts = [
        TensorCut(c["initializer"], c["axis"], np.array(c["keep"]), c.get("source"))
        for c in report["cuts"]
    ]
    missing = sorted({c.source or c.initializer for c in cuts} - state_dict.keys())
    if missing and strict:
        raise SelectionError(
            f"the state has no '{missing[0]}'"
            + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
            + ", which the report cuts: its names must be those of the ONNX file (strict=False"
            " leaves such cuts out)"
        )
    removed = report.get("removed") or ()
    if removed:
        raise SelectionError(
            f"the report takes {len(removed)} whole branch{'es' * (len(removed) > 1)} out, such as"
            f" that of '{removed[0]['layers'][0]}', which weights alone cannot show: prune with"
            " --min-channels 1"
        )
    present = [c for c in cuts if (c.source or c.initializer) in state_dict]
    return narrowed(state_dict, present)


def narrowed(state: Mapping[str, Tensor], cuts: Sequence[TensorCut]) -> State:
    """``state`` with rows ``keep`` along ``axis`` of each cut's tensor."""
    result = dict(state)
    copies = {c.initializer: c.source for c in cuts if c.source is not None}
    result.update({name: state[source] for name, source in copies.items()})
    for cut in cuts:
        tensor = result.get(cut.initializer)
        if tensor is None:
            continue
        if cut.axis >= tensor.ndim or (len(cut.keep) and cut.keep[-1] >= tensor.shape[cut.axis]):
            raise SelectionError(
                f"'{cut.initializer}' has shape {list(tensor.shape)}, but row {cut.keep[-1]} of"
                f" axis {cut.axis} is to be kept: it belongs to another model,"
                " give the one that the report is of"
            )
        index = torch.from_numpy(np.ascontiguousarray(cut.keep)).to(tensor.device)
        result[cut.initializer] = tensor.index_select(cut.axis, index)
    return result


def widen(wide: State, narrow: Mapping[str, Tensor], cuts: Iterable[TensorCut]) -> None:
    """Put the values of ``narrow`` where they are in ``wide``, which is changed: undo `narrowed`.

    What the cuts dropped keeps the value it had.
    """
    axes: dict[str, dict[int, Tensor]] = {}
    for cut in cuts:
        keep = torch.from_numpy(np.ascontiguousarray(cut.keep))
        axes.setdefault(cut.initializer, {})[cut.axis] = keep
    for name, values in narrow.items():
        tensor = wide[name]
        index = [axes.get(name, {}).get(a, torch.arange(n)) for a, n in enumerate(tensor.shape)]
        tensor[torch.meshgrid(*index, indexing="ij") if index else ()] = values.detach().to(
            tensor.device
        )
