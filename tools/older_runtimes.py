"""Whether files pruned here compute the same in another version of ONNX Runtime.

python tools/older_runtimes.py write FOLDER   prunes what is shipped, and keeps the outputs
python tools/older_runtimes.py check FOLDER   runs them in the ONNX Runtime of this Python
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("digits_resnet", "elan_tiny_random", "yolo_tiny_random")
ALLOWED = 1e-4


def write(folder: Path) -> None:
    sys.path.insert(0, str(ROOT))
    import reprune_onnx as rp
    from reprune_onnx.runtime.ort import Session
    from reprune_onnx.runtime.random_inputs import random_inputs
    from reprune_onnx.shapes import concrete_shapes

    folder.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        model = rp.load(ROOT / "models" / f"{name}.onnx")
        pruned = rp.prune(model, rp.Settings(sparsity=0.5, method="l1", recover="none")).model
        rp.save(pruned, folder / f"{name}.onnx")
        session = Session(pruned.proto, optimize=True, threads=1)
        shapes = concrete_shapes(pruned.proto, {})
        feeds = random_inputs(session.inputs, shapes, np.random.default_rng(0))
        outputs = session.run(feeds)
        arrays = {f"in {k}": v for k, v in feeds.items()}
        arrays |= {f"out {k}": v for k, v in outputs.items()}
        np.savez(folder / f"{name}.npz", **arrays)


def check(folder: Path) -> int:
    worst = 0.0
    for name in SHIPPED:
        session = ort.InferenceSession(
            str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            feeds = {k[3:]: v for k, v in arrays.items() if k.startswith("in ")}
            expected = {k[4:]: v for k, v in arrays.items() if k.startswith("out ")}
        outputs = session.run(list(expected), feeds)
        for array, value in zip(expected.values(), outputs, strict=True):
            apart = float(np.abs(array - value).max() / max(np.abs(array).max(), 1e-12))
            worst = float(np.maximum(worst, apart))  # NaN stays NaN, and fails
    print(f"ONNX Runtime {ort.__version__}: {len(SHIPPED)} files, largest difference {worst:.1e}")
    return 0 if worst <= ALLOWED else 1


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    sys.exit({"write": write, "check": check}[sys.argv[1]](Path(sys.argv[2])))
