"""``.npz`` data and Python loaders: which arrays, which layout, and every refusal in one line."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reprune_onnx.data import open_data
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.shapes import image_layout

NCHW = (None, 3, 5, 7)
NHWC = (None, 5, 7, 3)


def images(n=4, shape=(3, 5, 7), dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(dtype)


def opened(spec, shape=NCHW, preprocess="none", dtype=np.float32, **more):
    return open_data(str(spec), preprocess=preprocess, input_shape=shape, dtype=dtype, **more)


def everything(data, size=64):
    parts = list(data.batches(size))
    y = None if parts[0][1] is None else np.concatenate([y for _, y in parts])
    return np.concatenate([x for x, _ in parts]), y


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return tmp_path / "d.npz"

    return write


def refused(spec, *words, **more):
    with pytest.raises(DataError) as error:
        everything(opened(spec, **more))
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def test_x_and_y_are_found_and_batched(save):
    x, y = images(5), np.arange(5, dtype=np.uint8)
    data = opened(save(x=x, y=y))
    assert len(data) == data.size == 5
    assert [len(b) for b, _ in data.batches(2)] == [2, 2, 1]
    got, labels = everything(data, 2)
    np.testing.assert_array_equal(got, x)
    assert got.dtype == np.float32 and labels.dtype == np.int64
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(data.labels, y)


def test_split_chooses_test_or_train(save):
    a, b = images(2, seed=1), images(3, seed=2)
    path = save(x_test=a, x_train=b, y_test=[1, 0], y_train=[2, 3, 4])
    assert everything(opened(path))[1].tolist() == [1, 0]
    assert everything(opened(path, split="train"))[1].tolist() == [2, 3, 4]
    both = save(x=a, x_train=b)
    assert len(opened(both)) == 2
    assert len(opened(both, split="train")) == 3


def test_names_and_any_one_array(save):
    a, b = images(2, seed=1), images(2, seed=2)
    path = save(left=a, right=b, who=np.array([7, 8]))
    got, y = everything(opened(f"{path}:right,who"))
    np.testing.assert_array_equal(got, b)
    assert y.tolist() == [7, 8]
    assert everything(opened(f"{path}:left"))[1] is None
    alone, y = everything(opened(save(pixels=a, y=[[3], [4]])))
    np.testing.assert_array_equal(alone, a)
    assert y.tolist() == [3, 4]


@settings(deadline=None, max_examples=40)
@given(
    x=hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 3), *[st.integers(1, 9)] * 3])),
    model=st.sampled_from(["nchw", "nhwc"]),
    stored=st.sampled_from(["nchw", "nhwc"]),
)
def test_a_stated_layout_always_arrives(tmp_path_factory, x, model, stored):
    """``x`` is (n, c, h, w); whatever layout it is stored in and the model wants, values agree."""
    path = tmp_path_factory.mktemp("d") / "d.npz"
    np.savez(path, x=x if stored == "nchw" else x.transpose(0, 2, 3, 1))
    n, c, h, w = x.shape
    shape = (n, c, h, w) if model == "nchw" else (n, h, w, c)
    if image_layout(shape) != model:
        return  # a model whose layout cannot be told
    got, _ = everything(opened(path, shape, f"none;layout={stored}"))
    np.testing.assert_array_equal(got, x if model == "nchw" else x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("model", [NCHW, NHWC, (1, None, None, 3), (None, 3, None, None)])
@pytest.mark.parametrize("stored", ["nchw", "nhwc"])
def test_layout_is_detected(save, model, stored):
    x = images()
    path = save(x=x if stored == "nchw" else x.transpose(0, 2, 3, 1))
    got, _ = everything(opened(path, model))
    np.testing.assert_array_equal(got, x.transpose(0, 2, 3, 1) if model[3] == 3 else x)


def test_model_size_decides_between_two_layouts(save):
    x = images(shape=(3, 5, 3))
    np.testing.assert_array_equal(everything(opened(save(x=x), (1, 3, 5, 3)))[0], x)
    refused(save(x=images(shape=(3, 3, 3))), "layout=nchw", shape=(1, 3, 3, 3))
    refused(save(x=x), "NCHW or NHWC", "layout=nhwc", shape=(1, 3, None, None))


def test_default_preprocess_is_told(save):
    assert str(opened(save(x=images()), preprocess=None).preprocess) == "scale=1/255"
    x = everything(opened(save(x=images()), preprocess=None))[0]
    np.testing.assert_allclose(x, images() / 255, rtol=1e-6)
    floats = opened(save(x=images(dtype=np.float64)), preprocess=None)
    assert str(floats.preprocess) == "none"
    np.testing.assert_array_equal(everything(floats)[0], images())


def test_types(save):
    half = opened(save(x=images()), dtype=np.float16)
    assert everything(half)[0].dtype == np.float16
    integers = opened(save(x=images()), dtype=np.uint8, preprocess=None)
    np.testing.assert_array_equal(everything(integers)[0], images())
    refused(save(x=images(dtype=np.int64)), "int64", "uint8")
    refused(save(x=np.full((1, 3, 5, 7), 1e30)), "x[0]", "infinite", dtype=np.float16)


def test_refusals_of_the_file(tmp_path, save):
    refused(tmp_path / "none.npz", "none.npz", "does not exist", "folder")
    refused(f"{tmp_path / 'none.npz'}:x", "does not exist")
    (tmp_path / "text.npz").write_text("hello")
    refused(tmp_path / "text.npz", "text.npz", "numpy.savez")
    (tmp_path / "empty.npz").write_bytes(b"")
    refused(tmp_path / "empty.npz", "empty.npz")
    (tmp_path / "x.npy").write_bytes(b"")
    refused(tmp_path / "x.npy", "cannot be read as .npy", "write it with numpy.save")
    (tmp_path / "x.npz.gz").write_bytes(b"")
    refused(tmp_path / "x.npz.gz", "no known kind")
    good = save(x=images()).read_bytes()
    (tmp_path / "cut.npz").write_bytes(good[: len(good) // 2])
    refused(tmp_path / "cut.npz", "cut.npz")
    damaged = bytearray(good)
    damaged[200] ^= 255
    (tmp_path / "crc.npz").write_bytes(damaged)
    refused(tmp_path / "crc.npz", "crc.npz")
    np.savez(tmp_path / "nothing.npz")
    refused(tmp_path / "nothing.npz", "no arrays")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_all_versions_and_members_that_are_no_arrays(tmp_path, version):
    x, path = images(), tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about.txt", "what is in here")
        with archive.open("x.npy", "w") as file:
            np.lib.format.write_array(file, x, version)
        with archive.open("z.npy", "w") as file:
            np.lib.format.write_array(file, np.zeros(3), version)
    np.testing.assert_array_equal(everything(opened(path))[0], x)


def test_a_header_that_python_2_wrote(tmp_path):
    """Its numbers end in L: numpy reads them, and warns that it took longer."""
    x, path = images(), tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as file:
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4L, 3L, 5L, 7L), }"
        text = header.ljust(117).encode() + b"\n"
        file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + x.tobytes())
    np.testing.assert_array_equal(everything(opened(path))[0], x)


def test_refusals_of_the_arrays(save):
    path = save(x_test=images(), labels=np.arange(4))
    refused(f"{path}:x_tset", "did you mean 'x_test'", "labels (4,) int64")
    refused(f"{path}:x_test,y", "no array 'y'")
    refused(save(a=images(), b=images()), "2 arrays", "a, b", "d.npz:a")
    refused(save(a=np.zeros((3, 4))), "(3, 4) has rank 2, not 4", "(N, 3, 5, 7)")
    refused(save(x=np.zeros((2, 4, 4))), "rank 3, not 4")
    refused(save(x=np.zeros((0, 3, 5, 7))), "(0, 3, 5, 7)")
    refused(save(x=np.array([[[[{}]]]], dtype=object)), "Python objects")
    refused(save(x=images(), y=np.arange(5)), "4 images but 5 labels")
    refused(save(x=images(), y=np.eye(4)), "argmax")
    refused(save(x=images(), y=[0.5, 1, 2, 3]), "0.5", "image 0")
    refused(save(x=images(), y=[0, 1, -1, 3]), "-1", "image 2")
    refused(save(x=images(), y=["a", "b", "c", "d"]), "class numbers")


def test_refusals_of_the_fit(save):
    refused(save(x=images(shape=(3, 6, 7))), "6×7", "(N, 3, 5, 7)")
    refused(save(x=images(shape=(1, 5, 7))), "(1, 5, 7)", "3 channels", "(N, 3, 5, 7)")
    refused(save(x=images()), "(4, 3, 5, 7)", "(N, 10)", shape=(None, 10))
    bad = images(dtype=np.float32)
    bad[2, 1, 1, 1] = np.nan
    refused(save(x=bad), "x[2]", "NaN")


def test_take(save):
    x = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    data = opened(save(x=x, y=np.arange(10)), (None, 1, 1, 1), "none;layout=nchw")
    assert everything(data.take(5))[1].tolist() == [0, 2, 4, 6, 8]
    assert len(data.take(99)) == 10
    drawn = data.take(4, np.random.default_rng(3))
    got, y = everything(drawn)
    assert got.ravel().tolist() == y.tolist() == sorted(set(y.tolist())) and len(y) == 4
    again = data.take(4, np.random.default_rng(3))
    np.testing.assert_array_equal(drawn.labels, again.labels)
    assert drawn.take(2).labels.tolist() == y[[0, 2]].tolist()
    with pytest.raises(UsageError):
        data.take(0)


LOADER = """
import numpy as np
X = np.arange(6 * 105, dtype=np.float32).reshape(6, 3, 5, 7)
def pairs():
    yield X[:4], np.arange(4)
    yield [X[4:], np.arange(4, 6)]
def bare():
    return [X]
def broken():
    yield X
    raise KeyError("lost")
def flat():
    yield X[0]
def mixed():
    yield X, np.zeros(6)
    yield X
def sparse():
    yield X[:2]
    yield X[:0]
    yield X[2:]
def triple():
    yield X, X, X
def number():
    return 3
value = 3
"""


@pytest.fixture
def loader(tmp_path, monkeypatch):
    (tmp_path / "my_reprune_loader.py").write_text(LOADER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_reprune_loader"


def test_python_loader(loader):
    data = opened(f"{loader}:pairs")
    assert data.size is None and len(data) == 6
    for _ in range(2):  # every pass calls the function anew
        x, y = everything(data, 3)
        assert x.shape == (6, 3, 5, 7) and y.tolist() == [0, 1, 2, 3, 4, 5]
    assert everything(data.take(5).take(9), 3)[1].tolist() == [0, 1, 2, 3, 4]
    assert [len(x) for x, _ in data.take(5).batches(3)] == [3, 1, 1]
    assert everything(opened(f"{loader}:bare", NHWC))[0].shape == (6, 5, 7, 3)
    assert len(everything(opened(f"{loader}:broken").take(6))[0]) == 6
    assert [len(x) for x, _ in opened(f"{loader}:sparse").batches(4)] == [2, 4]


def test_loader_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "a_reprune_loader_here.py").write_text(LOADER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in sys.path if p])
    assert len(opened("a_reprune_loader_here:bare")) == 6


def test_refusals_of_the_loader(loader):
    refused("no_such_module_here:f", "no_such_module_here", "ModuleNotFoundError")
    refused(f"{loader}:pair", "did you mean 'pairs'")
    refused(f"{loader}:value", "no function 'value'")
    refused(f"{loader}:broken", "KeyError", "lost")
    refused(f"{loader}:flat", "rank 3")
    refused(f"{loader}:mixed", "some batches have labels")
    refused(f"{loader}:triple", "3 values")
    refused(f"{loader}:number", "returns int")
    refused(f"{loader}:bare", "5×7", shape=(1, 3, 8, 8))


def test_importing_data_is_light():
    code = (
        "import sys, reprune_onnx.data, reprune_onnx.runtime.evaluate;"
        "sys.exit(bool({'PIL', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
