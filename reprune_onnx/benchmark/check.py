"""Checks before models are measured: that they run, and compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer.quantized import quantized_nodes
from reprune_onnx.benchmark.backends import Runner
from reprune_onnx.benchmark.candidate import Candidate
from reprune_onnx.benchmark.difference import Results, difference, spread
from reprune_onnx.benchmark.noise import rounding_noise
from reprune_onnx.errors import ModelError, RepruneError, VerificationError
from reprune_onnx.report.files import report_path
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.files import verify

_HALF = 5e-3  # of the output's scale, as verification allows in float16
_QUANTIZED = 0.2  # of the deviation: roundings that fall the other way add up from layer to layer


def check_results(
    candidate: Candidate, runner: Runner, batch: int, tolerance: float | None
) -> tuple[dict[str, Any], Results]:
    """Run a model: what is to be said of it, and its outputs.

    They must be finite. They are compared with those of ONNX Runtime on the CPU without
    optimisation, unless ``tolerance`` is None. A difference beyond that is allowed as far as the
    network makes as much of rounding. In a quantized network a single value may differ by anything,
    so all together count. Raises ModelError.
    """
    feeds = candidate.feeds(runner, batch)
    runner.prepare(feeds)
    runner.run()
    results = runner.outputs()
    for name, value in results.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(
                f"'{candidate.name}' gives NaN or infinite values in '{name}' for random inputs at"
                f" batch size {batch}: see with reprune-onnx evaluate what it computes on images"
            )
    if candidate.model is None or tolerance is None:
        return {"max_abs_diff": None, "scale": None}, results
    expected = Session(candidate.runs, optimize=False).run(feeds)
    diff, scale = difference(candidate.name, results, expected)
    if quantized_nodes(candidate.model.proto):
        far = spread(results, expected)
        if far > _QUANTIZED:
            raise ModelError(
                f"'{candidate.name}' differs by {far:.2g} of what its outputs vary by from a plain"
                f" run on the CPU, where {_QUANTIZED:g} is allowed: what is fast is wrong"
            )
        return {"max_abs_diff": diff, "scale": scale}, results
    allowed = max(tolerance, _tolerance(candidate.model.proto))
    if diff > allowed * scale:
        allowed = max(allowed, min(_HALF, rounding_noise(candidate.runs, feeds, expected)))
    if diff > allowed * scale:
        raise ModelError(
            f"'{candidate.name}' differs by {diff:.3g}, at an output scale of {scale:.3g}, from a"
            f" plain run on the CPU, where {allowed:.3g} of it is allowed: what is fast is wrong"
        )
    return {"max_abs_diff": diff, "scale": scale}, results


def check_pairs(
    candidates: Sequence[Candidate], results: Mapping[str, Results]
) -> dict[str, dict[str, Any]]:
    """For every model that was pruned from another one of them: which, and how that is known.

    The original's names and shapes must be there, and where the report lies beside the pruned file,
    its cut is verified. Raises VerificationError.
    """
    differences: dict[str, dict[str, Any]] = {}
    for candidate in candidates:
        source = next((c for c in candidates if c.model and _pruned(candidate, c)), None)
        if source is None:
            continue
        _check_interface(source, candidate, results)
        differences[candidate.name] = {
            "pruned_from": source.name,
            "verified": _verified(source, candidate),
        }
    return differences


def _pruned(candidate: Candidate, source: Candidate) -> bool:
    if candidate.model is None or source.model is None:
        return False
    metadata = {p.key: p.value for p in candidate.model.proto.metadata_props}
    return metadata.get("reprune_onnx.source_sha256") == source.model.sha256


def _check_interface(a: Candidate, b: Candidate, results: Mapping[str, Results]) -> None:
    shapes = [{k: v.shape for k, v in results[c.name].items()} for c in (a, b)]
    for what, (x, y) in (("inputs", (a.at(1), b.at(1))), ("outputs", shapes)):
        if x != y:
            raise VerificationError(
                f"'{b.name}' was pruned from '{a.name}' but has other {what}: {y} in place of {x}"
            )


def _verified(source: Candidate, pruned: Candidate) -> str | None:
    """``cut``, ``structure`` where values were recovered since, None where no report is there."""
    report = report_path(pruned.path)
    if not report.is_file():
        return None
    assert source.model is not None and pruned.model is not None
    try:
        result = verify(source.model, pruned.model, report)
    except RepruneError as error:
        raise VerificationError(
            f"'{pruned.name}' is not what '{report}' says of it: {error}"
        ) from error
    return "structure" if result.result is None else "cut"


def _tolerance(proto: onnx.ModelProto) -> float:
    types = {tensor.data_type for tensor in proto.graph.initializer}
    return _HALF if onnx.TensorProto.FLOAT16 in types else 0.0
