"""The TensorRT backend over a stand-in that has the names it uses: no GPU took part in this.

The stand-in's engine doubles its input. What TensorRT 10 and 11 call these names was read from
their published wheels.
"""

import hashlib
import json
import sys

import numpy as np
import pytest

from reprune_onnx.benchmark.backends import tensorrt_engine
from reprune_onnx.benchmark.run import bench
from reprune_onnx.benchmark.settings import BenchSettings
from reprune_onnx.errors import EngineError, ModelError, UsageError
from reprune_onnx.runtime.tensorrt import Gpu

TENSORRT = """
import enum
import numpy as np

__version__ = "10.0"
class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = 1, 2
class Logger:
    ERROR = 1
    def __init__(self, level): pass
class Runtime:
    def __init__(self, logger): pass
    def deserialize_cuda_engine(self, data):
        return Engine() if data == b"twice" else None
class Engine:
    num_io_tensors = 2
    def get_tensor_name(self, i): return "xy"[i]
    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT
    def get_tensor_shape(self, name): return (-1, 2)
    def get_tensor_dtype(self, name): return "FLOAT"
    def get_tensor_profile_shape(self, name, k): return [(1, 2), (4, 2), (8, 2)]
    def create_execution_context(self): return Context()
class Context:
    def __init__(self): self.address, self.shape = {}, None
    def set_input_shape(self, name, shape):
        self.shape = shape
        return shape[0] <= 8
    def get_tensor_shape(self, name): return self.shape
    def set_tensor_address(self, name, ptr): self.address[name] = ptr
    def execute_async_v3(self, stream):
        from polygraphy import cuda
        cuda.MEMORY[self.address["y"]][...] = 2 * cuda.MEMORY[self.address["x"]]
        return True
def nptype(kind): return np.float32
"""
CUDA = """
import numpy as np
from polygraphy.exception import PolygraphyException

MEMORY = {}
class Stream:
    ptr = 1
    def synchronize(self): pass
class DeviceArray:
    def __init__(self, shape, dtype):
        if shape[0] == 7:
            raise PolygraphyException("out of memory")
        self.ptr = len(MEMORY) + 1
        MEMORY[self.ptr] = np.empty(shape, dtype)
    def copy_from(self, array):
        MEMORY[self.ptr][...] = array
        return self
    def numpy(self): return MEMORY[self.ptr].copy()
    def free(self): pass
"""


def write(path, data, **facts):
    """An engine, and beside it what it was built for."""
    path.write_bytes(data)
    engine = {"sha256": hashlib.sha256(data).hexdigest()}
    about = {"engine": engine, "gpu": {"name": "H200", "sm": "9.0"}, "tensorrt": "10.0"}
    path.with_name(f"{path.name}.json").write_text(json.dumps(about | facts))


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine file of the stand-in, which is installed."""
    folder = tmp_path / "site"
    (folder / "polygraphy").mkdir(parents=True)
    (folder / "tensorrt.py").write_text(TENSORRT)
    (folder / "polygraphy" / "__init__.py").touch()
    (folder / "polygraphy" / "cuda.py").write_text(CUDA)
    (folder / "polygraphy" / "exception.py").write_text("class PolygraphyException(Exception): ...")
    names = ("tensorrt", "polygraphy", "polygraphy.cuda", "polygraphy.exception")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)
    path = tmp_path / "x.engine"
    write(path, b"twice")
    gpu = Gpu("H200", "9.0", "580")
    monkeypatch.setattr("reprune_onnx.runtime.tensorrt.this_gpu", lambda: gpu)
    yield path
    for name in names:
        sys.modules.pop(name, None)


def test_an_engine_is_fed_run_and_read(engine):
    runner = tensorrt_engine.load(engine, 0)
    assert [(p.name, p.shape, p.dtype) for p in runner.inputs] == [("x", (None, 2), np.float32)]
    for n in (2, 3):
        x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
        runner.prepare({"x": x})
        runner.run()
        assert runner.outputs()["y"].tolist() == (2 * x).tolist()


def test_an_engine_is_measured(engine):
    result = bench([engine], BenchSettings("tensorrt", (1, 8), seconds=0.01))
    assert [row["batch_size"] for row in result["rows"]] == [1, 8]
    assert result["machine"]["versions"]["tensorrt"] == "10.0"
    assert result["threads"] is None
    assert result["models"][0]["bytes"] == 5


def test_larger_than_built_for_and_larger_than_the_memory(engine):
    result = bench([engine], BenchSettings("tensorrt", (1, 9), seconds=0.01))
    assert [row["batch_size"] for row in result["rows"]] == [1]
    (failure,) = result["failures"]
    assert "built for (1, 2) to (8, 2) at input 'x', not for (9, 2)" in failure["error"]
    result = bench([engine], BenchSettings("tensorrt", (1, 7), seconds=0.01))
    assert "no memory on the GPU for 'x' (7, 2)" in result["failures"][0]["error"]
    assert len(result["rows"]) == 1


def test_what_is_no_engine_of_this_machine(engine, demo):
    with pytest.raises(UsageError, match="reprune-onnx build"):
        bench([demo], BenchSettings("tensorrt"))
    write(engine, b"something else")
    with pytest.raises(ModelError, match=r"cannot read .* build it again"):
        bench([engine], BenchSettings("tensorrt"))
    write(engine, b"twice", gpu={"name": "T4", "sm": "7.5"})
    with pytest.raises(EngineError, match="was built for T4"):
        bench([engine], BenchSettings("tensorrt"))
    engine.with_name("x.engine.json").unlink()
    with pytest.raises(EngineError, match="does not say what"):
        bench([engine], BenchSettings("tensorrt"))
