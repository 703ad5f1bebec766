"""The written graph computes what the trained module computed."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from reprune_onnx.errors import VerificationError
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.ort import Session
from reprune_onnx.sizes.fitting import fitting_shapes
from reprune_onnx.training.bridge import OnnxModule
from reprune_onnx.types import Model

_ALLOWED = {onnx.TensorProto.FLOAT16: 5e-3, onnx.TensorProto.BFLOAT16: 3e-2}


def check_alike(written: Model, module: OnnxModule, shapes: dict[str, tuple[int, ...]]) -> float:
    """Run both on random images; the largest difference relative to the output's scale.

    Of whole numbers, which rounding may tip, only models are compared that give nothing else.
    Allowed are 1e-3 in float32 (1e-6 is usual), 5e-3 in float16, 3e-2 in bfloat16. Raises
    VerificationError beyond that: the file is then not written.
    """
    proto = as_float32(written.proto)
    types = {t.data_type for t in written.proto.graph.initializer}
    allowed = max([1e-3, *(limit for kind, limit in _ALLOWED.items() if kind in types)])
    session = Session(proto, optimize=False, outputs=module.output_names)
    sizes = fitting_shapes(proto, shapes).shapes
    rng = np.random.default_rng(0)
    feeds = {
        port.name: rng.random(sizes[port.name]).astype(port.dtype)
        for port in session.inputs
        if port.name in module.input_names
    }
    expected = session.run(feeds)
    with torch.no_grad():
        results = module(*[torch.from_numpy(feeds[name]) for name in module.input_names])
    worst = 0.0
    values = results if isinstance(results, tuple) else (results,)
    floats = {name for name in module.output_names if expected[name].dtype.kind == "f"}
    for name, y in zip(module.output_names, values, strict=True):
        if floats and name not in floats:
            continue
        a, b = expected[name].astype(np.float64), y.numpy().astype(np.float64)
        if a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    if not worst <= allowed:
        raise VerificationError(
            f"the written model differs from the trained one by {worst:.3g} of its scale, more than"
            f" the {allowed:.3g} allowed: this is a bug of reprune-onnx; please report the model"
        )
    return worst
