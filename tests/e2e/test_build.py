"""`build` with a stand-in for TensorRT that has no name and no parameter but the recorded ones.

Its engine is the ONNX file, which it runs in ONNX Runtime: what is tested is everything around
TensorRT, and that only what every version has is asked of it. No line of it ran on a GPU.
"""

import importlib
import inspect
import json
import re
import shutil
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from reprune_onnx.errors import EngineError
from reprune_onnx.runtime import tensorrt as engines
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.tail import head_of
from reprune_onnx.types import Model
from tests.unit.runtime.test_tail import efficient

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "deployment"))
api = importlib.import_module("tensorrt_api")

NAMES = {"8.5": "8.5.3.1", "10": "10.13.3", "11": "11.1.0"}
GPU = engines.Gpu("NVIDIA RTX A6000", "8.6", "570.1")


class Strict:
    """An object that has what is recorded of its class, called with the recorded parameters."""

    def __init__(self, kind: str, actions: dict) -> None:
        self._kind, self._actions = kind, actions

    def __getattr__(self, name: str):
        full = f"{self._kind}.{name}"
        if full in api.PROPERTIES:
            return self._actions[name]()
        assert full in api.METHODS, f"{full} is not among the recorded names"
        parameters = [
            inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
            for p in api.METHODS[full]
        ]
        signature = inspect.Signature(parameters)

        def call(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            return self._actions.get(name, lambda **_: None)(**bound.arguments)

        return call


class StandIn:
    """TensorRT and Polygraphy as modules: ``calls`` was asked, ``behaviour`` is what fails."""

    def __init__(self, version: str) -> None:
        self.version, self.calls, self.behaviour = version, [], ""

    def modules(self) -> dict[str, types.ModuleType]:
        trt = types.ModuleType("tensorrt")
        trt.__version__ = NAMES[self.version]
        for k, (name, versions) in enumerate(api.VALUES.items()):
            owner, _, value = name.partition(".")
            if not hasattr(trt, owner):
                made = type(owner, (), {"__init__": lambda self, *_: None})
                setattr(trt, owner, made)
            if self.version in versions:
                setattr(getattr(trt, owner), value, k)
        trt.init_libnvinfer_plugins = lambda logger, namespace: True
        trt.Builder = self.builder
        trt.OnnxParser = self.parser
        trt.Runtime = lambda logger: Strict(
            "Runtime", {"deserialize_cuda_engine": lambda serialized_engine: serialized_engine}
        )
        runner = types.ModuleType("polygraphy.backend.trt")
        runner.TrtRunner = self.runner
        parents = {n: types.ModuleType(n) for n in ("polygraphy", "polygraphy.backend")}
        return {"tensorrt": trt, **parents, "polygraphy.backend.trt": runner}

    def note(self, name: str, result=None):
        def act(**arguments):
            self.calls.append((name, arguments))
            return result

        return act

    def builder(self, logger):
        if self.behaviour == "no start":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.log = logger
        config = {
            name: self.note(name)
            for name in ("set_memory_pool_limit", "set_flag", "clear_flag", "set_timing_cache")
        }
        cache = Strict("ITimingCache", {"serialize": lambda: b"timings"})
        config["add_optimization_profile"] = self.note("add_optimization_profile", 0)
        config["create_timing_cache"] = self.note("create_timing_cache", cache)
        config["get_timing_cache"] = lambda: cache
        actions = {
            "create_network": self.note("create_network", self),
            "create_builder_config": lambda: Strict("IBuilderConfig", config),
            "create_optimization_profile": lambda: Strict(
                "IOptimizationProfile", {"set_shape": self.note("set_shape")}
            ),
            "build_serialized_network": self.serialized,
        }
        return Strict("Builder", actions)

    def serialized(self, network, config):
        if self.behaviour == "no memory":
            severity = sys.modules["tensorrt"].ILogger.ERROR
            self.log.log(
                severity, "[defaultAllocator.cpp::allocate::31] Error Code 1: out of memory"
            )
            return None
        return self.model

    def parser(self, network, logger):
        error = Strict("ParserError", {"node": lambda: 2, "desc": lambda: "Assertion failed:\n no"})

        def parse(model, path=None):
            self.model = model
            return self.behaviour != "unparsable"

        actions = {"parse": parse, "get_error": lambda index: error, "num_errors": lambda: 1}
        return Strict("OnnxParser", actions)

    def runner(self, engine):
        head = head_of(Model(onnx.load_from_string(engine))).proto
        session = Session(head, optimize=False)
        scale = 1.5 if self.behaviour == "wrong" else 1.0
        actions = {n: lambda *_: None for n in api.POLYGRAPHY["TrtRunner"]}
        actions["infer"] = lambda feeds: {k: scale * v for k, v in session.run(feeds).items()}
        return types.SimpleNamespace(**actions)


@pytest.fixture(params=["8.5", "10", "11"])
def stand_in(request, monkeypatch):
    trt = StandIn(request.param)
    for name, module in trt.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(engines, "require", lambda: None)
    for module in ("reprune_onnx.deployment.engine", "reprune_onnx.runtime.tensorrt"):
        monkeypatch.setattr(f"{module}.this_gpu", lambda: GPU)
    monkeypatch.setattr("reprune_onnx.deployment.engine.require", lambda: None)
    return trt


def test_an_engine_and_what_stands_beside_it(call, model, tmp_path, stand_in, root, monkeypatch):
    out, cache = tmp_path / "small.engine", tmp_path / "timings"
    how = ("--target", "rtx-a6000", "--precision", "fp16", "--batch-size", "1,4,8")
    result = call("build", model, *how, "-o", out, "--timing-cache", cache, "--workspace", "512")
    assert result.code == 0, result.err
    assert "is allowed" in result.out
    facts = json.loads((tmp_path / "small.engine.json").read_text())
    assert facts["tensorrt"] == NAMES[stand_in.version]
    assert facts["gpu"]["name"] == GPU.name
    assert facts["batch_size"] == {"min": 1, "opt": 4, "max": 8}
    assert facts["precision"] == "fp16"
    assert len(facts["source"]["sha256"]) == 64
    assert facts["check"]["difference"] <= facts["check"]["allowed"] == 3e-2
    assert cache.read_bytes() == b"timings"
    asked = dict(stand_in.calls)
    assert asked["set_memory_pool_limit"]["pool_size"] == 512 * 2**20
    shapes = [list(v) for k, v in asked["set_shape"].items() if k != "input"]
    assert [s[0] for s in shapes] == [1, 4, 8]
    flags = api.VALUES
    typed = "STRONGLY_TYPED" if stand_in.version != "8.5" else "EXPLICIT_BATCH"
    k = list(flags).index(f"NetworkDefinitionCreationFlag.{typed}")
    assert asked["create_network"]["flags"] == 1 << k
    assert ("set_flag" in asked) == (stand_in.version == "8.5")
    engine = engines.Engine(out, GPU)
    assert engine.facts == facts
    text = (root / "docs" / "deploy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(out.parent)
    for suffix in (".engine", ".engine.json"):
        shutil.copy(f"small{suffix}", f"model{suffix}")
    names = {"images": np.zeros((1, 1, 8, 8), np.float32)}
    exec(compile(block, "docs/deploy.md", "exec"), names)
    assert names["outputs"]["logits"].shape == (1, 10)
    assert sorted(p.name for p in tmp_path.glob("*small*")) == ["small.engine", "small.engine.json"]
    again = call("build", model, *how, "-o", out)
    assert (again.code, "exists" in again.err) == (1, True)


def test_an_engine_of_a_plugin_is_built_and_nothing_behind_it_compared(call, tmp_path, stand_in):
    path, out = tmp_path / "nms.onnx", tmp_path / "nms.engine"
    onnx.save(efficient("trt.").proto, path)
    result = call("build", path, "--target", "rtx-a6000", "--precision", "fp32", "-o", out)
    assert result.code == 0, result.err
    assert "note: ONNX Runtime lacks trt.EfficientNMS_TRT" in result.out
    assert "no output was compared" in result.out
    facts = json.loads(out.with_name("nms.engine.json").read_text())
    assert facts["check"]["difference"] is None
    assert onnx.load_from_string(stand_in.model).graph.node[-1].op_type == "EfficientNMS_TRT"


def test_fp32_is_fp32(call, model, tmp_path, stand_in):
    how = ("--target", "cuda", "--precision", "fp32", "-o", tmp_path / "x.engine")
    assert call("build", model, *how).code == 0
    assert "clear_flag" in dict(stand_in.calls)
    assert "set_flag" not in dict(stand_in.calls)


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("unparsable", ("TensorRT cannot have", "Assertion failed: no")),
        ("no memory", ("out of memory on the GPU", "--workspace below 4096")),
        ("no start", ("does not start on this GPU", "nullptr")),
        ("wrong", ("differ from ONNX Runtime's by 0.5", "not written")),
    ],
)
def test_what_fails(refuses, model, tmp_path, stand_in, behaviour, says):
    stand_in.behaviour = behaviour
    text = refuses("build", model, "--target", "cuda", "-o", tmp_path / "x.engine", says=says)
    if behaviour == "unparsable":
        assert any(node.name in text for node in onnx.load(model).graph.node)


def test_another_gpu_or_version_is_refused(call, model, refuses, tmp_path, stand_in, monkeypatch):
    out = tmp_path / "x.engine"
    assert call("build", model, "--target", "cuda", "-o", out).code == 0
    with pytest.raises(EngineError, match="built for NVIDIA RTX A6000"):
        engines.Engine(out, engines.Gpu("NVIDIA H200", "9.0", "570.1"))
    facts = json.loads(engines.about(out).read_text())
    engines.about(out).write_text(json.dumps(facts | {"tensorrt": "9.9"}))
    with pytest.raises(EngineError, match=r"built by TensorRT 9\.9"):
        engines.Engine(out, GPU)
    engines.about(out).write_text("{}")
    with pytest.raises(EngineError, match="does not say what"):
        engines.Engine(out, GPU)
    engines.about(out).write_text(json.dumps(facts))
    out.write_bytes(b"other")
    with pytest.raises(EngineError, match="belongs to another engine"):
        engines.Engine(out, GPU)
    h200 = ("build", model, "--target", "h200", "-o", tmp_path / "y.engine")
    refuses(*h200, says=("is sm 9.0", "is sm 8.6", "--target cuda"))
    refuses("convert", out, "--target", "cpu", "-o", tmp_path / "o.onnx", says=("engine",))


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_one_line_says_what_is_missing(refuses, model, tmp_path):
    refuses(
        *("build", model, "--target", "rtx-a6000", "-o", tmp_path / "x.engine"),
        says=("build needs tensorrt", "pip install 'reprune-onnx[tensorrt]'"),
    )


def test_what_is_not_built_here(refuses, model, tmp_path):
    to = ("-o", tmp_path / "x.engine", "--target")
    refuses("build", model, *to, "jetson-tx2", code=2, says=("use `reprune-onnx bundle`",))
    refuses("build", model, *to, "cpu", code=2, says=("use `reprune-onnx convert`",))
    refuses("build", model, *to, "rtx-a5000", code=2, says=("did you mean 'rtx-a6000'?",))
    for text in ("0", "8,4,1", "1,2", "x"):
        refuses("build", model, *to, "cuda", "--batch-size", text, code=2, says=("--batch-size",))
    engine = tmp_path / "m.plan"
    engine.write_bytes(b"ptrt")
    refuses("build", engine, *to, "cuda", says=("is a TensorRT engine",))


def test_a_gpu_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no NVIDIA GPU"):
        engines.this_gpu()
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    smi.chmod(0o755)
    with pytest.raises(EngineError, match="NVIDIA-SMI has failed"):
        engines.this_gpu()
    smi.write_text("#!/bin/sh\necho 'NVIDIA RTX A6000, 8.6, 570.1'\n")
    assert engines.this_gpu() == GPU


@pytest.mark.skipif(
    not (find_spec("tensorrt") and find_spec("polygraphy")),
    reason="the names are checked against a wheel where one is installed",
)
def test_the_recorded_names_are_the_wheels():
    import tensorrt

    api.against_wheel(tensorrt)
