"""Networks whose BatchNormalizations were folded away, as exporters leave them."""

import numpy as np
import onnx
from text_graphs import model

HEAD = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,h,w] x) => (float[n,32,h,w] y) """
WIDTH = 32
FOLDED = {
    "a bias": "a{k} = Conv ({x}, w{k}, b{k})",
    "an Add": "c{k} = Conv ({x}, v{k}) a{k} = Add (c{k}, t{k})",
    "Mul and Add": "c{k} = Conv ({x}, u{k}) d{k} = Mul (c{k}, s{k}) a{k} = Add (d{k}, t{k})",
}


def folded(x: np.ndarray, layers: int, form: str = "a bias") -> onnx.ModelProto:
    """Layers of 1×1 and ReLUs, into which norms were folded whose statistics are those of ``x``."""
    rng = np.random.default_rng(1)
    lines, values = [], {}
    name = "x"
    for k in range(layers):
        w, last = rng.normal(0, 1, (WIDTH, x.shape[1])), k == layers - 1
        gamma, beta = rng.uniform(0.5, 1.5, WIDTH), rng.normal(0, 0.5, WIDTH)
        y = np.einsum("nchw,oc->nohw", x, w)
        scale = gamma / y.std(axis=(0, 2, 3))
        bias = beta - scale * y.mean(axis=(0, 2, 3))
        v, s, t = scale[:, None] * w, scale.reshape(1, -1, 1, 1), bias.reshape(1, -1, 1, 1)
        x = np.maximum(scale.reshape(1, -1, 1, 1) * y + t, 0)
        values |= {f"b{k}": bias, f"s{k}": s, f"t{k}": t}
        values |= {f"w{k}": v[:, :, None, None], f"v{k}": v[:, :, None, None]}
        values[f"u{k}"] = w[:, :, None, None]
        line = FOLDED[form].format(k=k, x=name)
        values = {key: value for key, value in values.items() if key[-1] != str(k) or key in line}
        lines += [line, f"{'y' if last else f'r{k}'} = Relu (a{k})"]
        name = f"r{k}"
    return model(HEAD + "{\n" + "\n".join(lines) + "\n}", **values)
