"""Measured times of layers at several widths, and the model of them: a file, or made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprune_onnx import unreadable
from reprune_onnx.errors import DataError
from reprune_onnx.json_text import parse_json
from reprune_onnx.results import LayerTime
from reprune_onnx.types import ChannelMap


@dataclass(frozen=True)
class Row:
    """A layer with a weight of ``rows`` by ``columns`` channels (its axes 0 and 1) took ``ms``."""

    layer: str
    rows: int
    columns: int
    ms: float


@dataclass(frozen=True)
class LatencyTable:
    """Times of layers by their nodes' names, and of all that is no layer (``rest_ms``)."""

    layers: tuple[Row, ...]
    rest_ms: float = 0.0
    machine: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the table as it stands in a file."""
        return {
            "machine": self.machine,
            "rest_ms": self.rest_ms,
            "layers": [asdict(row) for row in self.layers],
        }

    def fitted(self, channels: ChannelMap) -> dict[int, LayerTime]:
        """Return the times of the model's layers, by node, as functions of their widths.

        base + per_row·r + per_column·c + per_element·r·c, none negative, is fitted to a layer's
        rows; a single one is taken as proportional to r·c. What is no layer is part of the first
        layer's ``base``. Raises DataError where the table knows none of the layers.
        """
        times: dict[int, LayerTime] = {}
        for layer in channels.layers:
            rows = [row for row in self.layers if row.layer == layer.name]
            if rows:
                times[layer.node] = _fit(rows)
        if not times:
            raise DataError(
                "the latency table has none of the model's layers, such as"
                f" '{channels.layers[0].name}': its rows are named by the nodes of the model that"
                " was measured"
            )
        first = min(times)
        rest = asdict(times[first])
        times[first] = LayerTime(**(rest | {"base": rest["base"] + self.rest_ms}))
        return times


def _fit(rows: Sequence[Row]) -> LayerTime:
    from scipy.optimize import nnls

    r, c, ms = (
        np.array([getattr(row, k) for row in rows], float) for k in ("rows", "columns", "ms")
    )
    if len(rows) == 1:
        return LayerTime(0.0, 0.0, 0.0, float(ms[0] / (r[0] * c[0])))
    # Errors relative to the time, and every column of unit size, as the fit is of small numbers.
    A = np.stack([np.ones_like(r), r, c, r * c], axis=1) / ms[:, None]
    size = np.linalg.norm(A, axis=0)
    x, _ = nnls(A / size, np.ones_like(ms))
    return LayerTime(*(float(value) for value in x / size))


def read_table(path: Path) -> LatencyTable:
    """Read a latency table, or the one in the ``latency`` of a report.

    Raises DataError where the file is neither.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if "latency" in content:
            content = content["latency"]
        rows = tuple(_row(row) for row in content["layers"])
        return LatencyTable(rows, max(0.0, float(content.get("rest_ms", 0.0))))
    except OSError as error:
        raise DataError(f"cannot read '{path}': {unreadable.reason(error)}") from error
    except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"'{path}' is no latency table ({unreadable.reason(error)}): give JSON of bench"
            ' --layers, or results.json of a bundle, whose "layers" are rows of'
            ' {"layer", "rows", "columns", "ms"}'
        ) from error


def _row(row: Mapping[str, Any]) -> Row:
    parsed = Row(str(row["layer"]), int(row["rows"]), int(row["columns"]), float(row["ms"]))
    if parsed.rows < 1 or parsed.columns < 1 or not 0 < parsed.ms < np.inf:
        raise ValueError(
            f"a layer with {parsed.rows} rows, {parsed.columns} columns, {parsed.ms} ms"
        )
    return parsed
