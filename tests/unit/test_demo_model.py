"""The demo model and its data are what models/README.md says they are."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

MODELS = Path(__file__).parents[2] / "models"
MODEL = MODELS / "digits_resnet.onnx"
DATA = MODELS / "digits.npz"
README = MODELS / "README.md"


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(MODEL)


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    with np.load(DATA) as arrays:
        return dict(arrays)


def n_correct(model: onnx.ModelProto, images: np.ndarray, labels: np.ndarray) -> int:
    """Count the right answers for raw images (N, 1, 8, 8) uint8, 0..16, labelled (N,) int64."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"input": images.astype(np.float32) * np.float32(0.0625)})
    assert logits.shape == (len(images), 10)
    return int(np.sum(logits.argmax(1) == labels))


def without_channels(model: onnx.ModelProto, sparsity: float, largest: bool) -> onnx.ModelProto:
    """Silence the inner channels whose |γ| is below (``largest``: above) a quantile of all."""
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in pruned.graph.initializer}
    gammas = {name: np.abs(numpy_helper.to_array(t)) for name, t in tensors.items()}
    gammas = {name: gamma for name, gamma in gammas.items() if name.endswith(".bn1.weight")}
    every = np.concatenate(list(gammas.values()))
    threshold = np.quantile(every, 1 - sparsity if largest else sparsity)
    for name, gamma in gammas.items():
        dropped = gamma > threshold if largest else gamma < threshold
        for silenced in (name, name.replace(".weight", ".bias")):
            values = np.where(dropped, np.float32(0), numpy_helper.to_array(tensors[silenced]))
            tensors[silenced].CopyFrom(numpy_helper.from_array(values, silenced))
    return pruned


def test_files_are_small() -> None:
    assert MODEL.stat().st_size < 1_000_000
    assert DATA.stat().st_size < 150_000


def test_model_is_a_valid_residual_network_with_live_batch_norm(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    ops = Counter(node.op_type for node in model.graph.node)
    assert ops == {
        "Conv": 15,
        "BatchNormalization": 15,
        "Relu": 13,
        "Add": 6,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert all(len(node.output) == 1 for node in norms)
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert "/stage1/block1/conv1/Conv" in {node.name for node in model.graph.node}
    assert not any(node.doc_string for node in model.graph.node)


def test_data_is_the_split_of_the_readme(data: dict[str, np.ndarray]) -> None:
    assert {name: (array.shape, array.dtype.name) for name, array in data.items()} == {
        "x": ((597, 1, 8, 8), "uint8"),
        "y": ((597,), "int64"),
        "x_train": ((1200, 1, 8, 8), "uint8"),
        "y_train": ((1200,), "int64"),
    }
    assert data["x"].max() == data["x_train"].max() == 16
    assert set(data["y"]) == set(data["y_train"]) == set(range(10))
    test, train = ({image.tobytes() for image in data[name]} for name in ("x", "x_train"))
    assert not test & train


def test_accuracy_is_what_the_readme_states(
    model: onnx.ModelProto, data: dict[str, np.ndarray]
) -> None:
    stated = re.search(
        r"(\d+) of (\d+) test images right, ([\d.]+) %", README.read_text(encoding="utf-8")
    )
    assert stated is not None
    assert int(stated[2]) == len(data["y"])
    assert n_correct(model, data["x"], data["y"]) == int(stated[1])
    assert f"{100 * int(stated[1]) / int(stated[2]):.2f}" == stated[3]


def test_small_gammas_mark_the_spare_channels(
    model: onnx.ModelProto, data: dict[str, np.ndarray]
) -> None:
    spare = without_channels(model, 0.55, largest=False)
    needed = without_channels(model, 0.55, largest=True)
    assert n_correct(spare, data["x"], data["y"]) > 0.95 * len(data["y"])
    assert n_correct(needed, data["x"], data["y"]) < 0.5 * len(data["y"])
