"""The accuracies that real models are known to have on real images."""

from pathlib import Path

import pytest

from reprune_onnx.data import open_data
from reprune_onnx.model import load
from reprune_onnx.runtime.evaluate import evaluate
from reprune_onnx.runtime.image_input import image_input

SHARED = Path(__file__).parents[3] / "shared"
pytestmark = pytest.mark.skipif(
    not (SHARED / "models").is_dir(), reason="needs the models and data in ../shared"
)


def open_for(model, spec, preprocess, **more):
    port = image_input(model.proto, {})
    shape, dtype = port.shape, port.dtype
    return open_data(spec, preprocess=preprocess, input_shape=shape, dtype=dtype, **more)


@pytest.mark.parametrize("names", [":x_test,y_test", ""])
def test_resnet56_on_cifar10(names):
    model = load(SHARED / "models" / "resnet56_cifar10_bn.onnx")
    data = open_for(model, f"{SHARED}/data/cifar10_lossless.npz{names}", "cifar10")
    result = evaluate(model, data)
    assert result.n == 932
    assert result.top1 == pytest.approx(100 * 863 / 932)


def test_calibration_takes_the_training_images():
    model = load(SHARED / "models" / "resnet20_cifar10_bn.onnx")
    spec = f"{SHARED}/data/cifar10_lossless.npz"
    assert len(open_for(model, spec, "cifar10", split="train")) == 4660


@pytest.mark.parametrize(
    ("name", "preprocess", "top1"),
    [("shufflenetv2", "imagenet", 82.4), ("squeezenet", "imagenet-bgr", 60.8)],
)
def test_imagenet_models_on_a_tar(name, preprocess, top1):
    model = load(SHARED / "models" / f"derived_{name}_fp32.onnx")
    data = open_for(model, f"{SHARED}/data/imagenet_sample_256.tar", preprocess)
    result = evaluate(model, data)
    assert result.n == 1000
    assert result.top1 == pytest.approx(top1)


def test_half_precision_agrees_with_its_widened_copy():
    half = load(SHARED / "models" / "winml_squeezenet_fp16.onnx")
    full = load(SHARED / "models" / "derived_squeezenet_fp32.onnx")
    data = open_for(half, f"{SHARED}/data/imagenet_sample_256.tar", "imagenet-bgr").take(40)
    result = evaluate(half, data, against=full)
    assert result.agreement == 100
    assert result.mean_kl < 1e-3
