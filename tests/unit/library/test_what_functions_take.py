"""Paths, protobufs and models; data in memory; reports in every form; one sentence for the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import reprune_onnx as rp
from reprune_onnx.activations.images import images_to_fit
from reprune_onnx.json_text import json_bytes

HALF = rp.Settings(sparsity=0.5, recover="none", verify=False)
TWO_INPUTS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,8,8] a, float[N,3,8,8] b) => (float[N,4,8,8] y) {
    s = Add(a, b)
    h = Conv<pads=[1,1,1,1]>(s, v)
    r = Relu(h)
    y = Conv(r, w)
}
"""


@pytest.fixture(scope="module")
def images(digits) -> np.ndarray:
    return np.load(digits)["x_train"][:48]


@pytest.fixture(scope="module")
def pruned(demo) -> rp.Pruned:
    return rp.prune(str(demo), HALF)


def test_a_model_is_a_path_a_protobuf_or_a_model(demo, pruned):
    proto = onnx.load(demo)
    before = proto.SerializeToString()
    for model in (demo, proto, rp.load(demo)):
        assert rp.prune(model, HALF).report["cuts"] == pruned.report["cuts"]
        assert rp.analyze(model).n_units == rp.analyze(str(demo)).n_units
    assert proto.SerializeToString() == before


def test_a_protobuf_whose_weights_lie_elsewhere_is_refused(tmp_path, demo):
    path = tmp_path / "outside.onnx"
    onnx.save(onnx.load(demo), path, save_as_external_data=True, size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    with pytest.raises(rp.ModelError, match="give the path of the model"):
        rp.prune(proto, HALF)
    assert rp.prune(path, HALF).report["cuts"]


def loader(images: np.ndarray, of: int):
    """As a DataLoader: it can be read again, and yields what looks like tensors."""

    class Loader:
        def __iter__(self):
            for k in range(0, len(images), of):
                yield [Tensor(images[k : k + of]), Tensor(np.zeros(len(images[k : k + of])))]

    return Loader()


class Tensor:
    """As a tensor of PyTorch that needs a gradient: numpy takes it on the CPU alone."""

    def __init__(self, array: np.ndarray, detached: bool = False) -> None:
        self.array, self.shape, self.detached = array, array.shape, detached

    def detach(self) -> Tensor:
        return Tensor(self.array, True)

    def cpu(self) -> Tensor:
        return self

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        assert self.detached
        return self.array


def fitted(demo: Path, calibration: object, most: int = 512) -> list[np.ndarray]:
    """The batches that a pruning would fit to."""
    how = rp.Settings(sparsity=0.3, calibration=calibration, calibration_size=most)
    return [batch["input"] for batch in images_to_fit(rp.load(demo).proto, how).batches]


def test_calibration_takes_what_is_in_memory(demo, images, tmp_path):
    """All of it gives what the file of the same images gives."""
    np.savez(tmp_path / "images.npz", x=images)
    expected = fitted(demo, tmp_path / "images.npz")
    assert sum(map(len, expected)) == 48
    for calibration in (
        images,
        (images, np.zeros(48)),
        list(images),
        (image for image in images),
        [images[:7], images[7:]],
        loader(images, 10),
        ({"input": image, "labels": 0} for image in images),
        {"input": images},
        [{"x": images}],
    ):
        np.testing.assert_array_equal(
            np.concatenate(fitted(demo, calibration)), np.concatenate(expected)
        )
    others = np.concatenate(fitted(demo, images[::-1].copy()))
    assert (others != np.concatenate(expected)).any(), "the control: other images"


def test_a_pruning_says_what_it_was_calibrated_with(demo, images):
    how = rp.Settings(sparsity=0.3, calibration=images, allocation="uniform", recover="batch-norm")
    report = rp.prune(demo, how).report
    assert report["recovery"]["samples"] == 48
    assert report["settings"]["calibration"] == "ndarray (48, 1, 8, 8) in memory"


def test_only_what_is_wanted_is_drawn(demo, images):
    drawn = []

    def endless():
        while True:
            drawn.append(len(drawn))
            yield images[len(drawn) % 48]

    how = rp.Settings(sparsity=0.3, calibration=endless())
    first = fitted(demo, how.calibration, 20)
    assert sum(map(len, first)) == len(drawn) == 20
    again = fitted(demo, how.calibration, 20)
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert len(drawn) == 20, "what was drawn is there still"


def test_several_inputs_take_dicts(images):
    proto = onnx.parser.parse_model(TWO_INPUTS)
    rng = np.random.default_rng(0)
    for name, shape in (("v", (6, 3, 3, 3)), ("w", (4, 6, 1, 1))):
        array = rng.normal(size=shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    data = {k: rng.normal(size=(16, 3, 8, 8)).astype(np.float32) for k in "ab"}
    rows = [{k: v[i : i + 4] for k, v in data.items()} for i in range(0, 16, 4)]
    for calibration in (data, rows, iter(rows)):
        how = rp.Settings(sparsity=0.4, calibration=calibration)
        fitted_to = images_to_fit(proto, how)
        assert fitted_to.n == 16 and set(fitted_to.batches[0]) == {"a", "b"}
    with pytest.raises(rp.DataError, match="but an item is"):
        rp.prune(proto, rp.Settings(sparsity=0.4, calibration=[{"a": data["a"]}]))


@pytest.mark.parametrize(
    ("calibration", "says"),
    [
        (np.zeros((8, 8)), "is no batch of images"),
        (["a", "b"], "is no array of numbers"),
        ([], "holds no images"),
        ([{"u": np.zeros((1, 1, 8, 8)), "v": 0}], "is the model's input 'input'"),
    ],
    ids=["rank", "text", "nothing", "names"],
)
def test_what_are_no_images_is_refused(demo, calibration, says):
    with pytest.raises(rp.DataError) as error:
        rp.prune(demo, rp.Settings(sparsity=0.3, calibration=calibration))
    assert says in str(error.value)


def test_a_report_is_what_prune_returned_its_dict_or_its_path(demo, pruned, tmp_path):
    rp.save(pruned.model, tmp_path / "small.onnx")
    file = tmp_path / "small.report.json"
    file.write_bytes(json_bytes(pruned.report))
    for report in (pruned, pruned.report, file, str(file)):
        proof = rp.verify(demo, pruned.model, report)
        assert proof.result is not None and proof.result.passed
        how = rp.Settings(keep=report, recover="none", verify=False)
        assert rp.prune(demo, how).report["cuts"] == pruned.report["cuts"]
        how = rp.Settings(keep=report, recover="data-free")
        assert rp.recover(demo, pruned.model, how).report["recovery"]["method"] == "data-free"
    assert rp.verify(demo, tmp_path / "small.onnx").to_dict()["changed"] == 0
    assert rp.read_report(file)["achieved"] == pruned.report["achieved"]
    with pytest.raises(rp.SelectionError, match="'keep' is not a report of this tool"):
        rp.prune(demo, rp.Settings(keep={"cuts": 3}))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(rp.SelectionError, match=r"list.json' is not a report of this tool"):
        rp.read_report(tmp_path / "list.json")


def test_evaluate_takes_data_in_every_form(demo, digits):
    arrays = np.load(digits)
    x, y = (arrays["x"][:200] / 16).astype(np.float32), arrays["y"][:200]
    expected = rp.evaluate(demo, (x, y))
    assert expected.top1 is not None and expected.top1 > 90
    assert rp.evaluate(onnx.load(demo), [(x[:128], y[:128]), (x[128:], y[128:])]) == expected
    assert rp.evaluate(rp.load(demo), f"{digits}:x,y").to_dict()["n"] == len(arrays["x"])
    assert rp.evaluate(demo, x, against=demo).agreement == 100


def test_bench_takes_models_in_memory(demo, pruned):
    how = rp.BenchSettings(batch_sizes=(1,), seconds=0.001, threads=1)
    result = rp.bench([demo, onnx.load(demo), pruned.model], how)
    assert [row["model"] for row in result["rows"]] == [str(demo), "models[1]", "models[2]"]


WRONG = [
    (lambda m: rp.prune(np.zeros(3), HALF), "model takes a path, an onnx.ModelProto or a Model"),
    (lambda m: rp.prune(m, 0.5), "settings takes Settings, such as Settings(sparsity=0.5), not"),
    (lambda m: rp.analyze(None), "model takes a path, an onnx.ModelProto or a Model, not NoneType"),
    (lambda m: rp.verify(m, 3, {"cuts": []}), "pruned takes a path"),
    (lambda m: rp.verify(m, rp.load(m)), "report is missing: give what prune returned"),
    (lambda m: rp.verify(m, m, 3), "report takes a path, the dict of a report, or what prune"),
    (lambda m: rp.evaluate(m, 3), "data takes a path"),
    (lambda m: rp.evaluate(m, None), "data takes images, such as a path or an array, not NoneType"),
    (rp.bench, "models takes a list of paths or models"),
    (lambda m: rp.load(3), "path takes a path, not 3 (int)"),
    (lambda m: rp.Settings(sparsity="0.5"), "sparsity takes a number, not '0.5' (str)"),
    (lambda m: rp.Settings(sparsity=True), "sparsity takes a number, not True (bool)"),
    (lambda m: rp.Settings(sparsity=0.5, jobs=1.5), "jobs takes a whole number, not 1.5 (float)"),
    (lambda m: rp.Settings(sparsity=0.5, verify=1), "verify takes True or False, not 1 (int)"),
    (lambda m: rp.Settings(sparsity=0.5, method=3), "method takes a name such as 'reprune'"),
    (lambda m: rp.Settings(sparsity=0.5, linkage=3), "linkage takes one of 'ward', 'single', "),
    (lambda m: rp.Settings(sparsity=0.5, target=3), "target takes text, not 3 (int)"),
    (lambda m: rp.Settings(sparsity=0.5, include=3), "include takes a glob over node names, or"),
    (lambda m: rp.Settings(sparsity=0.5, include=[3]), "include takes globs over node names"),
    (lambda m: rp.Settings(sparsity=0.5, layer="a=3"), "layer takes a dict of globs and numbers"),
    (lambda m: rp.Settings(sparsity=0.5, layer=["a"]), "layer takes a dict of globs and numbers"),
    (lambda m: rp.Settings(sparsity=0.5, layer={"a": "3"}), "layer takes globs with whole numbers"),
    (
        lambda m: rp.Settings(sparsity=0.5, input_shapes={"x": 3}),
        "input_shapes takes whole extents, as {'x': (1, 3, 224, 224)}, not {'x': 3} (dict)",
    ),
    (lambda m: rp.Settings(sparsity=0.5, calibration=3), "calibration takes a path, the text of"),
    (lambda m: rp.Settings(sparsity=0.5, classes=3), "classes takes a path, not 3 (int)"),
    (lambda m: rp.Settings(keep=3), "keep takes a path, the dict of a report, or what prune"),
]


@pytest.mark.parametrize(("call", "says"), WRONG, ids=[says[:40] for _, says in WRONG])
def test_a_wrong_type_gets_one_sentence_that_names_the_argument(demo, call, says):
    with pytest.raises(TypeError) as error:
        call(demo)
    assert isinstance(error.value, rp.UsageError)
    line = str(error.value)
    assert line.startswith(says) and "\n" not in line and len(line) < 200


def test_fields_hold_one_type_whatever_they_were_given():
    how = rp.Settings(
        sparsity=np.float32(0.5),
        include="*conv1*",
        layer={"a": np.int64(3)},
        input_shapes={"x": [1, 3]},
        keep=None,
        classes="names.txt",
    )
    assert (how.include, how.layer) == (("*conv1*",), (("a", 3),))
    assert how.input_shapes == (("x", (1, 3)),)
    assert type(how.sparsity) is float and how.classes == Path("names.txt")
    assert rp.Settings(sparsity=0.5, include=iter(["a", "b"])).include == ("a", "b")


def test_the_preset_is_that_of_the_command_line():
    paper = rp.Settings.paper(sparsity=0.5, seed=3)
    assert (paper.residual, paper.allocation, paper.recover) == ("inner", "bn-gamma", "none")
    assert paper.seed == 3
    assert rp.Settings.paper(sparsity=0.5, residual="keep").residual == "keep"
    with pytest.raises(TypeError):
        rp.Settings.paper(sparzity=0.5)


def test_names_are_listed_and_wrong_ones_are_refused():
    assert {"prune", "Settings", "read_report", "open_data", "train"} <= set(dir(rp))
    assert all(hasattr(rp, name) for name in rp.__all__)
    assert not hasattr(rp, "prnue")


def test_no_name_is_hidden_by_a_module_of_that_name(root):
    """Whose import puts it in the place of the name."""
    modules = {path.stem for path in (root / "reprune_onnx").iterdir()}
    assert not modules & set(dir(rp))
