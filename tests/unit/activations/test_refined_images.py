"""Images refined by gradient: nearer to what BatchNormalizations state, and reproducible."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

torch = pytest.importorskip("torch", reason="refining needs PyTorch")
pytest.importorskip("lightning_fabric", reason="the extra has it")

import reprune_onnx as rp
from reprune_onnx.activations.generated.make import Made, make
from reprune_onnx.errors import DataError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

TWO = """<ir_version: 8, opset_import: ["": 17]>
g (float[n,3,EXTENTS] x) => (float[n,5,EXTENTS] y) {
  a = Conv <auto_pad = "SAME_UPPER"> (x, w)
  b = BatchNormalization <epsilon = 0.001> (a, g0, b0, m0, v0)
  c = Relu (b)
  d = Conv <auto_pad = "SAME_UPPER"> (c, w2)
  y = BatchNormalization (d, g1, b1, m1, v1)
}"""


def normed(extents: str = "12,12", **values: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    ones = [1] * (extents.count(",") + 1)
    arrays = {"w": rng.normal(0, 1, (4, 3, *ones)), "w2": rng.normal(0, 1, (5, 4, *ones))}
    for k, c in enumerate((4, 5)):
        arrays |= {f"g{k}": np.ones(c), f"b{k}": np.zeros(c)}
        arrays |= {f"m{k}": rng.normal(0, 0.3, c), f"v{k}": rng.uniform(0.2, 0.6, c)}
    return model(TWO.replace("EXTENTS", extents), **(arrays | values))


def made(proto: onnx.ModelProto, spec: str, **options: Any) -> Made:
    settings = rp.Settings(sparsity=0.5, calibration=spec, preprocess="scale=1/255", **options)
    return make(Model(proto), settings)


def misfit(proto: onnx.ModelProto, x: np.ndarray) -> float:
    """The divergence of the definition, of all images together, in numpy."""
    shown = onnx.ModelProto.FromString(proto.SerializeToString())
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in "ad")
    made = Session(shown, optimize=False).run({"x": x})
    stored = {t.name: onnx.numpy_helper.to_array(t).astype(float) for t in proto.graph.initializer}
    parts = []
    for k, (name, epsilon) in enumerate({"a": 1e-3, "d": 1e-5}.items()):
        y = np.moveaxis(made[name], 1, -1).reshape(-1, 4 + k).astype(float)
        stated = stored[f"v{k}"] + epsilon
        ratio = (y.var(axis=0) + epsilon) / stated
        off = (y.mean(axis=0) - stored[f"m{k}"]) ** 2 / stated
        parts.append(((ratio + off - 1 - np.log(ratio)) / 2).mean())
    return float(np.mean(parts))


@pytest.mark.parametrize("extents", ["12,12", "40", "5,5,5"])
def test_images_come_nearer_to_what_the_file_states(extents: str) -> None:
    proto = normed(extents)
    before, after = (made(proto, spec) for spec in ("generated:8", "generated:refined:8"))
    assert after.pixels.x.dtype == np.uint8 and after.pixels.x.shape == before.pixels.x.shape
    refined = after.generated.refined
    assert before.generated.refined is None and refined is not None
    assert refined.before == pytest.approx(misfit(proto, before.fed(0, 8)), rel=1e-4)
    assert refined.after == pytest.approx(misfit(proto, after.fed(0, 8)), rel=1e-4)
    assert refined.after < 0.75 * refined.before


def test_groups_are_moved_by_themselves() -> None:
    """More images than are taken together; each is still near to where it began."""
    proto = normed()
    before, after = (made(proto, spec) for spec in ("generated:40", "generated:refined:40"))
    moved = np.abs(after.pixels.x.astype(int) - before.pixels.x.astype(int))
    assert moved.reshape(40, -1).max(axis=1).min() > 0
    assert moved.mean() < 40
    assert misfit(proto, after.fed(0, 14)) < misfit(proto, before.fed(0, 14))


def test_the_same_bytes_with_any_number_of_threads() -> None:
    threads = torch.get_num_threads()
    collected = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            collected.append(made(normed("32,32"), "generated:refined:16").pixels.x)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*collected)


def test_images_that_come_no_nearer_stay() -> None:
    """A statistic that no image changes."""
    proto = normed(w=np.zeros((4, 3, 1, 1)))
    before, after = (made(proto, spec) for spec in ("generated:8", "generated:refined:8"))
    np.testing.assert_array_equal(after.pixels.x, before.pixels.x)


def test_a_static_batch_is_refined_in_groups_too() -> None:
    proto = normed()
    for port in (proto.graph.input[0], proto.graph.output[0]):
        port.type.tensor_type.shape.dim[0].dim_value = 2
    refined = made(proto, "generated:refined:8").generated.refined
    assert refined is not None and refined.after < refined.before


def test_a_norm_of_the_input_alone_tells_nothing_of_a_layer() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,8,8] x) => (float[n,3,8,8] y) { y = BatchNormalization (x, g, b, m, v) }"""
    one = np.ones(3)
    proto = model(text, g=one, b=0 * one, m=0.5 * one, v=0.1 * one)
    with pytest.raises(DataError, match="the file has none"):
        made(proto, "generated:refined:8")


def test_the_report_says_how_near_they_came(root: Path) -> None:
    settings = rp.Settings(sparsity=0.3, calibration="generated:refined:16")
    report = rp.prune(root / "models" / "digits_resnet.onnx", settings).report
    calibration = report["calibration"]
    assert calibration is not None and calibration["generated"] is not None
    refined = calibration["generated"]["refined"]
    assert refined["after"] < refined["before"]
    assert any("refined by gradient" in note for note in report["notes"])
