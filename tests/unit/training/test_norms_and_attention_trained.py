"""Every kind of norm and attention is trained: gradients flow, the loss falls, the file loads.

Each block is also pruned first, with the statistics of norms taken over the channels that stay.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from ort_version import ort_is_older_than
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.runtime.ort import Session

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from reprune_onnx.training.bridge import torch_module, write_back

C, D = 8, 8
SHAPES: dict[str, tuple[int, ...]] = {
    "stem": (C, 3, 3, 3),
    **dict.fromkeys(("wq", "wk", "wv", "back"), (C, D)),
    **{"qkv": (C, 3 * D), "qkv_b": (3 * D,), "head": (C, 4)},
    **dict.fromkeys(("scale", "shift", "add"), (C,)),
    **dict.fromkeys(("gamma", "beta"), (1, C, 1, 1)),
}
INTEGERS = {"flat": [0, C, -1], "sides": [2, 3], "one": [1], "places": [1]}
FLOATS = {"eps": 1e-6, "root": 0.5}
ROWS = "r = Reshape (f, flat)  t = Transpose <perm = [0,2,1]> (r)\n"
TURNED = "kt = Transpose <perm = [0,2,1]> (k)\n"
QKV = "q = MatMul (t, wq)  k = MatMul (t, wk)  v = MatMul (t, wv)\n"
END = "m = ReduceMean (o, places)  g = Squeeze (m, places)\n y = MatMul (g, head)"

BLOCKS: dict[str, tuple[int, str]] = {
    "LayerNormalization": (18, "o = LayerNormalization (t, scale, shift)"),
    "LayerNormalization written out": (
        18,
        """c = ReduceMean (t, last)  d = Sub (t, c)  s = Mul (d, d)  w = ReduceMean (s, last)
        e = Add (w, eps)  h = Sqrt (e)  n = Div (d, h)  z = Mul (n, scale)  o = Add (z, shift)""",
    ),
    "RMSNormalization": (23, "o = RMSNormalization (t, scale)"),
    "GroupNormalization": (
        21,
        """n = GroupNormalization <num_groups = 1> (f, scale, shift)
        r2 = Reshape (n, flat)  o = Transpose <perm = [0,2,1]> (r2)""",
    ),
    "global response normalisation": (
        18,
        """n = ReduceL2 (f, sides)  c = ReduceMean (n, one)  e = Add (c, eps)  d = Div (n, e)
        s = Mul (f, d)  a = Mul (s, gamma)  b = Add (a, beta)  z = Add (b, f)
        r2 = Reshape (z, flat)  o = Transpose <perm = [0,2,1]> (r2)""",
    ),
    "products of activations": (
        18,
        QKV + TURNED + "s = MatMul (q, kt)  p = Softmax <axis = -1> (s)  o = MatMul (p, v)",
    ),
    "Einsum of activations": (
        18,
        QKV
        + """s = Einsum <equation = "bic,bjc->bij"> (q, k)  p = Softmax <axis = -1> (s)
        o = Einsum <equation = "bij,bjc->bic"> (p, v)""",
    ),
    "Attention": (23, QKV + "o = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)"),
    "com.microsoft's Attention": (
        18,
        "o = com.microsoft.Attention <num_heads = 2> (t, qkv, qkv_b)",
    ),
    "com.microsoft's MultiHeadAttention": (
        18,
        QKV + "o = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, qkv_b)",
    ),
    "com.microsoft's SkipLayerNormalization": (
        18,
        "v = MatMul (t, wv)  o = com.microsoft.SkipLayerNormalization (t, v, scale, shift, add)",
    ),
}


def network(name: str) -> onnx.ModelProto:
    opset, block = BLOCKS[name]
    text = f"""<ir_version: 10, opset_import: ["": {opset}, "com.microsoft": 1]>
    g (float[n,3,4,4] x) => (float[n,4] y) {{
      f = Conv <pads = [1,1,1,1]> (x, stem)  {ROWS} {block} {END} }}"""
    rng = np.random.default_rng(0)
    arrays = {
        **{n: rng.standard_normal(s) / np.sqrt(s[0]) for n, s in SHAPES.items()},
        **{n: np.array(v, np.int64) for n, v in (INTEGERS | {"last": [-1]}).items()},
        **{n: np.float32(v) for n, v in FLOATS.items()},
    }
    read = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return model(text, **{n: a for n, a in arrays.items() if n in read})


@pytest.mark.parametrize("pruned", [False, True], ids=["whole", "pruned"])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_trained(name: str, pruned: bool) -> None:
    if BLOCKS[name][0] > 22 and ort_is_older_than("1.23"):
        pytest.skip("ONNX Runtime 1.23 is the first that computes it")
    start = rp.Model(network(name))
    if pruned:
        settings = rp.Settings(
            sparsity=0.4, residual="prune", recover="none", norm_statistics="kept"
        )
        result = rp.prune(start, settings)
        assert result.report["verification"]["passed"] and result.report["cuts"]
        start = result.model
    torch.manual_seed(0)
    x, target = torch.randn(16, 3, 4, 4), torch.randn(16, 4)
    module = torch_module(start)
    before = {n: v.detach().clone() for n, v in module.named_parameters()}
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for step in range(40):
        loss = torch.nn.functional.mse_loss(module(x), target)
        optimizer.zero_grad()
        loss.backward()
        if not step:
            flowing = {n for n, p in module.named_parameters() if p.grad is not None}
            assert flowing == before.keys()
            assert all(torch.isfinite(p.grad).all() for p in module.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    moved = {n for n, p in module.named_parameters() if not torch.equal(p, before[n])}
    assert moved == before.keys()

    written = write_back(start, module)

    onnx.checker.check_model(written.proto) if "microsoft" not in name else None
    (y,) = Session(written.proto, optimize=True).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(y, module(x).detach().numpy(), rtol=1e-3, atol=1e-4)
