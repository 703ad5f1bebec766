"""Files to start from: small models, the report of a pruning, images, a device."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from reprune_onnx.cli.app import app
from reprune_onnx.cli.edge import run

DEMO = Path(__file__).resolve().parents[2] / "models" / "digits_resnet.onnx"
HALF = ("--sparsity", "0.5", "--method", "l1", "--allocation", "uniform", "--recover", "none")
HEAD = '<ir_version: 8, opset_import: ["" : 13]>\n'
GRAPHS = (
    "g (float[N,3,8,8] x) => (float[N,5] y) { a = Conv<pads=[1,1,1,1]>(x, W0)"
    " b = BatchNormalization(a, s, o, m, v) c = Relu(b) d = Conv<pads=[1,1,1,1]>(c, W1)"
    " e = Add(d, c) f = GlobalAveragePool(e) h = Flatten(f) y = Gemm<transB=1>(h, W2, b2) }",
    "g (float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv<pads=[1,1,1,1], group=2>(x, W3)"
    " p, q = Split<axis=1>(a) r = Concat<axis=1>(q, p) t = Conv<group=8, pads=[1,1,1,1]>(r, W4)"
    " u = Reshape(t, S0) w = Transpose<perm=[0,2,1,3,4]>(u) z = Reshape(w, S1) y = Conv(z, W5) }",
    "g (float[1,3,h,w] x) => (float[1,2,a,b] y) { e = Shape(x) i = Gather(e, I2) c = Conv(x, W6)"
    " k = Sigmoid(c) l = Mul(c, k) r = Slice(l, A0, A1, A2) y = Conv(r, W7) }",
)
INTEGERS = {
    "S0": [1, 2, 4, 8, 8],
    "S1": [1, 8, 8, 8],
    "I2": [2],
    "A0": [1],
    "A1": [5],
    "A2": [1],
}
SHAPES = {
    "W0": (6, 3, 3, 3), "s": (6,), "o": (6,), "m": (6,), "v": (6,), "W1": (6, 6, 3, 3),
    "W2": (5, 6), "b2": (5,), "W3": (8, 2, 3, 3), "W4": (8, 1, 3, 3), "W5": (4, 8, 1, 1),
    "W6": (6, 3, 1, 1), "W7": (2, 4, 1, 1),
}  # fmt: skip


def array(values: np.ndarray) -> bytes:
    """Return the bytes of a `.npy` file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def models() -> tuple[bytes, ...]:
    """Return small networks: a residual one, one with a channel shuffle, one with a free size."""
    rng = np.random.default_rng(0)
    files = []
    for text in GRAPHS:
        proto = parser.parse_model(HEAD + text)
        read = {name for node in proto.graph.node for name in node.input}
        for name in sorted(read & {*SHAPES, *INTEGERS}):
            value = (
                np.asarray(INTEGERS[name], np.int64)
                if name in INTEGERS
                else (rng.random(SHAPES[name]) + 0.1).astype(np.float32)
            )
            proto.graph.initializer.append(numpy_helper.from_array(value, name))
        onnx.checker.check_model(proto, full_check=True)
        files.append(proto.SerializeToString())
    return tuple(files)


def report() -> bytes:
    """Return the report of a pruning of the demo model."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            code = run(app, ["prune", str(DEMO), "-o", str(folder / "a.onnx"), *HALF])
        assert code == 0
        return json.dumps(json.loads((folder / "a.report.json").read_text())).encode()
    finally:
        shutil.rmtree(folder)
