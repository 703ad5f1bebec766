"""Fit raw batches to inputs that take no images: shapes are checked, values stay as they are."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.source import Feed, Raw, RawBatch
from reprune_onnx.data.target import ArrayTarget, DataInput
from reprune_onnx.errors import DataError


def fit_arrays(batch: RawBatch, target: ArrayTarget, source: str) -> Feed:
    """Return the batch in the types of the inputs; DataError naming ``source`` if it cannot be.

    Values stay what they are: where the input's type does not have one, it is named.
    """
    if isinstance(batch.x, dict):
        given = batch.x
    elif isinstance(batch.x, np.ndarray) and len(target.inputs) == 1:
        given = {target.inputs[0].name: batch.x}
    else:
        what = "one array" if isinstance(batch.x, np.ndarray) else "images"
        raise DataError(
            f"{source}: {what}, but the model takes {target}; give a .npz with an array for each"
            " input, named like it"
        )
    names = [i.name for i in target.inputs]
    if set(given) != set(names):
        raise DataError(
            f"{source}: arrays {', '.join(given)}, but the model takes {target}; give an array for"
            " each input, named like it"
        )
    fitted = {i.name: _fitted(given[i.name], i, batch.names, source) for i in target.inputs}
    return fitted if len(names) > 1 else fitted[names[0]]


def _fitted(x: Raw, wanted: DataInput, names: tuple[str, ...], source: str) -> Raw:
    wanted.check(x.shape, f"{source} for input '{wanted.name}'")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{source}: an array of type {x.dtype} for input {wanted}; give numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # told by the checks below
        y = np.ascontiguousarray(x.astype(wanted.dtype))
        kept = np.isfinite(y) if wanted.dtype.kind == "f" else y == x
    bad = np.flatnonzero(~kept.reshape(len(y), -1).all(axis=1))
    if len(bad) and wanted.dtype.kind == "f":
        raise DataError(
            f"{names[bad[0]]}: NaN or infinite values for input {wanted}; correct them, or remove"
            " the sample"
        )
    if len(bad):
        value = x[bad[0]][~kept[bad[0]]].flat[0]
        raise DataError(
            f"{names[bad[0]]}: a value of {value} for input {wanted}, whose type does not have it;"
            " correct the value, or remove the sample"
        )
    return y
