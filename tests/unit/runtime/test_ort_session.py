"""The ONNX Runtime session: outputs, types, silence, and errors in one line."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from reprune_onnx import model as model_file
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session, with_outputs

TWO_STEPS = """
<ir_version: 8, opset_import: ["" : 17]>
twice (float[N, 2] x) => (float[N, 2] z)
<float two = {2.0}>
{
    y = Mul(x, two)
    z = Relu(y)
}
"""
X = np.array([[-1.0, 3.0]], np.float32)


@pytest.fixture
def proto():
    return parser.parse_model(TWO_STEPS)


@pytest.mark.parametrize("optimize", [False, True])
def test_run(proto, optimize):
    session = Session(proto, optimize=optimize, threads=1)
    assert [(p.name, p.shape, p.dtype) for p in session.inputs] == [("x", (None, 2), np.float32)]
    assert [p.name for p in session.outputs] == ["z"]
    assert session.run({"x": X})["z"].tolist() == [[0, 6]]


def test_inner_outputs_are_exposed_on_a_copy(proto, tmp_path):
    before = proto.SerializeToString()
    session = Session(proto, optimize=True, outputs=["y"])
    assert [p.name for p in session.outputs] == ["y"]
    assert list(session.run({"x": X})) == ["y"]
    assert session.run({"x": X})["y"].tolist() == [[-2, 6]]
    assert set(session.run({"x": X}, ["z", "y"])) == {"z", "y"}
    assert proto.SerializeToString() == before
    assert [o.name for o in with_outputs(proto, ["y", "z", "y"]).graph.output] == ["z", "y"]
    onnx.save(proto, tmp_path / "m.onnx")
    assert Session(tmp_path / "m.onnx", optimize=True).run({"x": X})["z"].tolist() == [[0, 6]]
    inner = Session(tmp_path / "m.onnx", optimize=True, outputs=["y"])
    assert inner.run({"x": X})["y"].tolist() == [[-2, 6]]
    with pytest.raises(ModelError, match="no node of the graph computes 'x'"):
        with_outputs(proto, ["x"])


def test_a_model_over_the_limit_goes_through_a_passing_file(proto, monkeypatch, tmp_path):
    weight = np.arange(2000, dtype=np.float32).reshape(2, 1000)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    proto.graph.node.append(helper.make_node("MatMul", ["z", "w"], ["v"]))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    want = Session(proto, optimize=False, outputs=["v"]).run({"x": X})["v"]
    monkeypatch.setattr(model_file, "LIMIT", 100)
    before = proto.SerializeToString()
    session = Session(proto, optimize=False, outputs=["v"])
    np.testing.assert_array_equal(session.run({"x": X})["v"], want)
    np.testing.assert_array_equal(want[0], 6 * weight[1])
    assert proto.SerializeToString() == before
    assert list(tmp_path.iterdir()) == []


def test_types_and_unknown_shapes():
    graph = helper.make_graph(
        [
            helper.make_node("SequenceConstruct", ["h"], ["s"]),
            helper.make_node("Cast", ["h"], ["d"], to=onnx.TensorProto.INT64),
        ],
        "types",
        [helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT16, [2])],
        [onnx.ValueInfoProto(name="s"), onnx.ValueInfoProto(name="d")],
    )
    opset = [helper.make_opsetid("", 17)]
    session = Session(helper.make_model(graph, opset_imports=opset, ir_version=8), optimize=False)
    assert session.inputs[0].dtype == np.float16
    assert [p.dtype for p in session.outputs] == [None, np.int64]
    assert list(session.run({"h": np.ones(2, np.float16)})) == ["d"]


def test_errors_are_one_line(proto, tmp_path):
    session = Session(proto, optimize=False)
    for feeds in ({"x": X.T}, {"x": X.astype(np.float64)}, {}):
        with pytest.raises(ModelError, match="cannot run the model 'twice'") as error:
            session.run(feeds)
        assert "\n" not in str(error.value) and "ONNXRuntimeError" not in str(error.value)
    proto.graph.node[0].op_type = "Unheard"
    with pytest.raises(ModelError, match=r"cannot load the model 'twice': .*Unheard") as error:
        Session(proto, optimize=False)
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match=r"none\.onnx"):
        Session(tmp_path / "none.onnx", optimize=True)


def test_nothing_is_printed(proto, tmp_path):
    """An initializer among the inputs and a wrong output shape make ONNX Runtime warn."""
    proto.graph.input.append(helper.make_tensor_value_info("two", onnx.TensorProto.FLOAT, [1]))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    onnx.save(proto, tmp_path / "m.onnx")
    code = (
        "import sys, numpy as np\n"
        "from reprune_onnx.errors import ModelError\n"
        "from reprune_onnx.runtime.ort import Session\n"
        "try: s = Session(sys.argv[1], optimize=True)\n"
        "except ModelError: sys.exit()\n"
        "s.run({'x': np.zeros((1, 2), np.float32)})\n"
        "try: s.run({'x': np.zeros((1, 3), np.float32)})\n"
        "except ModelError: pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.onnx")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_output_that_is_listed_twice():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu (x) }'
    )
    model.graph.output.append(model.graph.output[0])
    session, feeds = Session(model, optimize=False), {"x": np.ones(2, np.float32)}
    bound = session.bind(feeds, "cpu")
    bound.run()
    assert list(session.run(feeds)) == list(bound.outputs()) == ["y"]


LOOP = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1] x) => (float[1] y) <int64 many = {50000000}, bool go = {1}> {
  y = Loop (many, go, x) <body = b (int64 i, bool k, float[1] s) => (bool l, float[1] t) {
    l = Identity (k)
    t = Abs (s)
  }>
}"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signal to a thread that waits")
def test_ctrl_c_stops_a_run() -> None:
    """Also where the shell that started the tests has Ctrl-C ignored."""
    assert threading.current_thread() is threading.main_thread()
    session = Session(onnx.parser.parse_model(LOOP), optimize=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    start = time.perf_counter()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            session.run({"x": np.ones(1, np.float32)})
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - start < 30  # of minutes


def test_a_frugal_session_ends_where_much_memory_is_needed():
    """Of 60,000 positions, the products of all with all take 14 GB; of 1,000, 4 MB."""
    proto = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 2] x) => (float y)
        { t = Transpose(x)  p = MatMul(x, t)  s = Relu(p)  y = ReduceSum<keepdims = 0>(s) }
    """)
    session = Session(proto, optimize=False, use="frugal")
    for _ in range(2):
        with pytest.raises(MemoryError):
            session.run({"x": np.ones((60_000, 2), np.float32)})
        assert session.run({"x": np.ones((1000, 2), np.float32)})["y"] == 2_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory in use")
def test_what_one_of_many_sessions_took_is_given_back_when_the_next_has_run():
    """The products of 8,000 positions take 256 MB; they are not held while others run."""
    proto = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 2] x) => (float y)
        { t = Transpose(x)  p = MatMul(x, t)  s = Relu(p)  y = ReduceSum<keepdims = 0>(s) }
    """)

    def run(n: int, times: int = 1) -> int:
        session = Session(proto, optimize=False, use="one of many")
        for _ in range(times):
            session.run({"x": np.ones((n, 2), np.float32)})
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = run(10)
    assert run(8000, times=2) > before + 200e6  # else this test would see nothing
    assert run(10) < before + 50e6
