"""Which optimizer is taken, how it steps, and what it remembers."""

from dataclasses import replace

import onnx
import pytest

import reprune_onnx as rp

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric")

from reprune_onnx.training.finetune import usual_optimizer
from reprune_onnx.training.optimizers import OPTIMIZERS, memory_of, remember


@pytest.mark.parametrize(
    ("given", "usual", "taken"),
    [
        ({}, "adamw", "adamw"),
        ({}, "sgd", "sgd"),
        ({"lr": 0.1}, "adamw", "sgd"),
        ({"optimizer": "sgd"}, "adamw", "sgd"),
        ({"optimizer": "adamw", "lr": 0.1}, "sgd", "adamw"),
    ],
)
def test_the_optimizer_goes_with_where_the_rate_comes_from(given, usual, taken):
    settings = rp.TrainSettings(**given)
    assert settings.with_optimizer(usual) == replace(settings, optimizer=taken)


LAYERS = {
    "Conv": "A{i} = Conv (A{h}, w)",
    "ConvTranspose": "A{i} = ConvTranspose (A{h}, w)",
    "MatMul": "A{i} = MatMul (A{h}, w)",
    "Einsum": 'A{i} = Einsum <equation = "bchw,wv->bchv"> (A{h}, w)',
    "Relu": "A{i} = Relu (A{h})",
}


@pytest.mark.parametrize(
    ("layers", "taken"),
    [
        (("Conv", "Conv", "MatMul"), "sgd"),  # a classifier whose BatchNormalization was folded
        (("ConvTranspose", "Relu"), "sgd"),
        (("Conv", "MatMul", "MatMul"), "adamw"),  # a transformer of patches; ConvNeXt's blocks
        (("Conv", "MatMul"), "adamw"),
        (("Einsum", "Conv", "Einsum"), "adamw"),
        (("Relu",), "adamw"),
    ],
)
@pytest.mark.parametrize("within", [False, True])
def test_the_usual_optimizer_goes_by_most_layers(layers, taken, within):
    """Within a local function, as PyTorch writes modules, they count too."""
    nodes = " ".join(LAYERS[kind].format(i=i + 1, h=i) for i, kind in enumerate(layers))
    ports, body = f"(A0, w) => (A{len(layers)})", f"{{ {nodes} }}"
    head = '<ir_version: 8, opset_import: ["": 17, "own": 1]>'
    types = f"(float[N,4,4,4] A0, float[4,4,1,1] w) => (float[N,c,h,v] A{len(layers)})"
    function = f'<domain: "own", opset_import: ["": 17]> F {ports} {body}'
    call = f"{{ A{len(layers)} = own.F (A0, w) }} {function}"
    text = f"{head} g {types} {call if within else body}"
    model = rp.Model(onnx.parser.parse_model(text))
    assert usual_optimizer(model, rp.TrainSettings()) == taken


def test_an_optimizer_steps_as_its_paper_says():
    """The first step: SGD goes by the gradient and w, AdamW by the sign, and w shrinks beside."""
    w, g, rate = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.3, -4.0, 10.0]), 0.1
    wanted = {"sgd": w - rate * (g + 0.2 * w), "adamw": w * (1 - rate * 0.2) - rate * g.sign()}
    for name, kind in OPTIMIZERS.items():
        parameter = torch.nn.Parameter(w.clone())
        parameter.grad = g.clone()
        optimizer = kind.make([parameter], rp.TrainSettings(weight_decay=0.2))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), wanted[name])


def test_what_an_optimizer_remembers_goes_by_name():
    for kind in OPTIMIZERS.values():
        module = torch.nn.Linear(3, 2)
        settings = rp.TrainSettings()
        first, second = (kind.make(module.parameters(), settings) for _ in range(2))
        named = dict(module.named_parameters())
        module(torch.ones(1, 3)).sum().backward()
        first.step()
        memory = memory_of(kind, first, named)
        assert set(memory) == set(kind.remembers)
        remember(second, named, memory)
        again = memory_of(kind, second, named)
        for key, held in memory.items():
            for name, value in held.items():
                torch.testing.assert_close(again[key][name], value)
