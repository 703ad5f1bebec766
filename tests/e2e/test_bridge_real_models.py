"""The PyTorch bridge on every float file of ../shared/models that prunes: the same outputs."""

from functools import cache

import numpy as np
import onnx
import pytest

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.precision import tolerance
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.compare import difference, observed_tensors

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from reprune_onnx.training.bridge import torch_module, write_back

REFUSED = {"shufflenetv2_int8", "superres_ort_web", "winml_pcb_aoi"}
DIFFERENT = ["resnet20_cifar10_bn", "rfb320", "ppocr_cls_v2", "fastestdet", "zoo_vittracker"]
RAW_PIXELS = {"winml_candy", "zoo_yolox_nano", "yunet_n_dynamic"}  # these take 0–255


@cache
def read(path) -> tuple[rp.Model, Graph, rp.ChannelMap]:
    model = rp.load(path)
    graph = graph_of(model)
    return model, graph, channels_of(graph, rp.Scope(residual="prune"))


def names(folder) -> list[str]:
    return sorted(p.stem for p in folder.glob("*.onnx") if p.stem not in REFUSED)


def pytest_generate_tests(metafunc):
    folder = metafunc.config.rootpath.parent / "shared" / "models"
    if metafunc.function.__name__ != "test_every_weight_of_a_layer_gets_a_gradient":
        metafunc.parametrize("name", names(folder) or ["none"])


def test_it_computes_what_onnx_runtime_computes(shared, name):
    model, graph, channels = read(shared / "models" / f"{name}.onnx")
    keep = np.ones(channels.n_units, dtype=bool)
    observed = observed_tensors(graph, channels, keep)
    rng = np.random.default_rng(0)
    scale = 255.0 if name in RAW_PIXELS else 1.0
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.proto.graph.initializer)
    shapes = channels.input_shapes
    feeds = {
        n: (rng.random(s) * scale).astype(np.float16 if half else np.float32)
        for n, s in shapes.items()
    }
    session = Session(model.proto, optimize=False, outputs=observed)
    expected = session.run(feeds)
    module = torch_module(model, observed)
    with torch.no_grad():
        outputs = module(*[torch.from_numpy(feeds[n]) for n in module.input_names])
    arrays = [y.numpy() for y in (outputs if isinstance(outputs, tuple) else (outputs,))]
    worst = difference(expected, dict(zip(observed, arrays, strict=True)), observed)
    assert worst.scale > 0
    assert worst.relative <= tolerance(graph, channels)  # 1e-4; of an fp16 file 5e-3


def test_it_writes_the_same_file_back(shared, name):
    model, *_ = read(shared / "models" / f"{name}.onnx")
    assert write_back(model, torch_module(model)).proto == model.proto


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_weight_of_a_layer_gets_a_gradient(shared, name):
    """No weight is cut off from the outputs."""
    model, graph, channels = read(shared / "models" / f"{name}.onnx")
    module = torch_module(model)
    shapes = {n: (*s[:2], *(min(k, 96) for k in s[2:])) for n, s in channels.input_shapes.items()}
    static = [d.dim_value for i in graph.inputs for d in i.type.tensor_type.shape.dim]
    shapes = dict(channels.input_shapes) if all(static[1:]) else shapes
    torch.manual_seed(0)
    outputs = module(*[torch.rand(shapes[n]) for n in module.input_names])
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum((y * torch.rand_like(y)).sum() for y in outputs if y.is_floating_point()).backward()
    parameters = {n: v for n, v in module.values().items() if isinstance(v, torch.nn.Parameter)}
    weights = {layer.weight for layer in channels.layers if layer.weight in parameters}
    assert len(weights) >= 4
    assert [n for n in weights if parameters[n].grad is None] == []
    assert all(torch.isfinite(parameters[n].grad).all() for n in weights)
