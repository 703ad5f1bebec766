"""Recurrent layers in the bridge: batches first, and weights trained and written back."""

import numpy as np
import pytest
from recurrent_cases import RECURRENT, case
from test_bridge_ops import Case

from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from reprune_onnx.training.bridge import torch_module, write_back


def computed(op, data, constants, attrs):
    model = Case(op, data, constants, attrs, 17, 3 if op == "LSTM" else 2).model()
    with torch.no_grad():
        return [y.numpy() for y in torch_module(Model(model))(*map(torch.from_numpy, data))]


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_batches_first_is_the_same_turned(op):
    """ONNX Runtime's CPU has no layout=1: the oracle is layout=0, which it is compared with."""
    op, data, constants, attrs = case(op, "bidirectional", states=True, lengths=True)
    y, *states = computed(op, data, constants, attrs)
    turned = [np.ascontiguousarray(d.swapaxes(0, 1)) for d in data]
    for k in (4, 5):
        if k < len(constants) and constants[k] is not None:
            constants[k] = np.ascontiguousarray(constants[k].swapaxes(0, 1))
    z, *others = computed(op, turned, constants, {**attrs, "layout": 1})
    np.testing.assert_allclose(z, y.transpose(2, 0, 1, 3), atol=1e-6)
    for a, b in zip(others, states, strict=True):
        np.testing.assert_allclose(a, b.swapaxes(0, 1), atol=1e-6)


@pytest.mark.parametrize("drawn", [RECURRENT[2], RECURRENT[3], case("LSTM", peepholes=True)])
def test_weights_are_trained_and_written_back(drawn):
    op, data, constants, attrs = drawn
    proto = Case(op, data, constants, attrs, 17, 3 if op == "LSTM" else 2).model()
    model = Model(proto)
    module = torch_module(model)
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    y = module(*map(torch.from_numpy, data))[0]
    y.square().sum().backward()
    with torch.no_grad():
        for p in module.parameters():
            assert p.grad is not None and p.grad.abs().max() > 0
            p.sub_(0.1 * p.grad)
    assert set(before) >= {"t1", "t2", "t3"}
    feeds = {"t0": data[0]}
    expected = module(*map(torch.from_numpy, data))[0].detach().numpy()
    written = Session(write_back(model, module).proto, optimize=False).run(feeds)["y0"]
    np.testing.assert_allclose(written, expected, rtol=2e-5, atol=2e-5)
    assert np.abs(written - Session(proto, optimize=False).run(feeds)["y0"]).max() > 1e-3
