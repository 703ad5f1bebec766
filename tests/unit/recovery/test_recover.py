"""What holds for every method: structure, types, order of threads, and what is refused."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cut_networks import Images, Pruned, error, images, network, normal, prune, values
from onnx import numpy_helper
from threadpoolctl import threadpool_limits

import reprune_onnx as rp
from reprune_onnx import recovery as package
from reprune_onnx.activations.workers import Workers
from reprune_onnx.errors import DataError, UsageError
from reprune_onnx.pruner.earlier import EarlierReport
from reprune_onnx.recovery import recover
from reprune_onnx.recovery.output_error import output_error
from reprune_onnx.results import CutNetwork
from reprune_onnx.surgeon import cut

METHODS: list[Any] = ["least-squares", "batch-norm", "data-free"]
BODY = """a = Conv <pads = [1,1,1,1]> (x, w1)
  n = BatchNormalization (a, g, b, m, v)
  r = Relu (n)
  c = Conv <pads = [1,1,1,1]> (r, w2, b2)
  s = Relu (c)
  t = Conv <pads = [1,1,1,1]> (s, w3)
  u = Add (t, c)
  p = GlobalAveragePool (u)
  f = Flatten (p)
  y = Gemm <transB = 1> (f, w4, b4)"""
WEIGHTS: dict[str, Any] = {
    **{"w1": normal(12, 3, 3, 3), "w2": normal(6, 12, 3, 3), "b2": normal(6)},
    **{"w3": normal(6, 6, 3, 3), "w4": normal(5, 6), "b4": normal(5)},
    **{"g": np.linspace(0.5, 1.5, 12), "b": np.linspace(-1, 1, 12)},
    **{"m": np.zeros(12), "v": np.ones(12)},
}


def residual(**drop: list[int]) -> Pruned:
    return prune(network(BODY, WEIGHTS), **(drop or {"a": [0, 3, 4, 8, 9]}))


@pytest.mark.parametrize("method", METHODS)
def test_only_values_of_what_reads_the_cut_change(method: Any) -> None:
    pruned = residual()
    before = pruned.model.proto.SerializeToString(deterministic=True)
    recovered = pruned.recover(method, images())
    assert pruned.model.proto.SerializeToString(deterministic=True) == before
    report = EarlierReport(
        cut(pruned.original, pruned.graph, pruned.channels, pruned.keep).cuts,
        settings={"residual": "prune", "input_shapes": [["x", [1, 3, 8, 8]]]},
    )
    result = rp.verify(pruned.original, recovered.model, report)
    assert result.result is None
    old, new = values(pruned.model.proto), values(recovered.model.proto)
    changed = {k for k in old if not np.array_equal(old[k], new[k])}
    assert result.changed == len(changed)
    assert {"w2", "b2"} <= changed <= {"w2", "b2", "w3", "w4", "b4"}
    kept = [*recovered.model.proto.graph.node, *recovered.model.proto.graph.input]
    assert kept == [*pruned.model.proto.graph.node, *pruned.model.proto.graph.input]


@contextmanager
def threads(n: int) -> Iterator[Workers]:
    with threadpool_limits(1), ThreadPoolExecutor(n) as pool:
        yield Workers(pool, n)


@pytest.mark.parametrize("method", METHODS[:2])
def test_the_same_bits_with_any_number_of_threads(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = residual()
    seen = set()
    for n in (1, 2, 3):
        monkeypatch.setattr(package, "workers", lambda n=n: threads(n))
        proto = pruned.recover(method, images()).model.proto
        seen.add(proto.SerializeToString(deterministic=True))
    assert len(seen) == 1


def digests() -> str:
    """What the methods make of the network here, for another process to compare."""
    made = [residual().recover(m, images()).model.proto for m in METHODS]
    return " ".join(
        hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest() for proto in made
    )


def test_the_same_bits_with_any_order_of_sets() -> None:
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1]), *sys.path]
    seen = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(paths)}
        code = "from test_recover import digests; print(digests())"
        result = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        seen.add(result.stdout.strip())
    assert seen == {digests()}


def in_type(proto: onnx.ModelProto, code: int) -> onnx.ModelProto:
    kind = onnx.helper.tensor_dtype_to_np_dtype(code)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(kind)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.elem_type = code
    return proto


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_other_float_types_stay(method: Any, kind: str) -> None:
    code = onnx.TensorProto.DataType.Value(kind)
    pruned = prune(in_type(network(BODY, WEIGHTS), code), a=[0, 3, 4, 8, 9])
    data = images()
    if kind == "FLOAT16":
        batches = tuple({"x": b["x"].astype(np.float16)} for b in data.batches)
        data = Images(data.name, batches, data.n)
    recovered = pruned.recover(method, data)
    assert {t.data_type for t in recovered.model.proto.graph.initializer} == {code}
    old, new = values(pruned.model.proto), values(recovered.model.proto)
    assert not np.array_equal(old["w2"], new["w2"])
    if method != "data-free":
        assert recovered.error_after is not None
        assert recovered.error_before is not None
        assert recovered.error_after < recovered.error_before


@pytest.mark.parametrize("method", METHODS)
def test_weights_in_constant_nodes(method: Any) -> None:
    """They end up as those of the same network with initializers."""
    expected = values(residual().recover(method, images()).model.proto)
    proto = network(BODY, WEIGHTS)
    tensors, nodes = list(proto.graph.initializer), list(proto.graph.node)
    del proto.graph.initializer[:]
    del proto.graph.node[:]
    made = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in tensors]
    proto.graph.node.extend([*made, *nodes])
    recovered = prune(proto, a=[0, 3, 4, 8, 9]).recover(method, images()).model.proto
    after = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in recovered.graph.node
        if node.op_type == "Constant"
    }
    for name in ("w2", "b2", "w3", "w4", "b4"):
        mine = after[name] if name in after else values(recovered)[name]
        np.testing.assert_array_equal(mine, expected[name])


def test_a_bias_of_plain_numbers_in_a_constant_node() -> None:
    """The file's structure has no place for other values there: the bias stays."""
    body = """a = Conv (x, w1)
      r = Relu (a)
      bias = Constant <value_floats = [1.0, 2.0, 3.0]> ()
      y = Conv (r, w2, bias)"""
    weights = {"w1": normal(8, 3, 3, 3), "w2": normal(3, 8, 1, 1)}
    pruned = prune(network(body, weights), a=[0, 5])
    recovered = pruned.recover("least-squares", images())
    assert list(recovered.model.proto.graph.node) == list(pruned.model.proto.graph.node)
    other = images(seed=9)
    assert error(pruned.original, recovered.model, other) < error(
        pruned.original, pruned.model, other
    )


def test_nothing_was_cut() -> None:
    pruned = residual()
    everything = np.ones_like(pruned.keep)
    network = CutNetwork(pruned.graph, pruned.channels, everything, pruned.original)
    recovered = recover(network, "least-squares", images())
    assert (recovered.model, recovered.method, recovered.layers) == (pruned.original, "none", 0)


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_method_that_needs_images(method: Any) -> None:
    with pytest.raises(UsageError, match=f"--recover {method} needs images: .* --calibration"):
        residual().recover(method)


@pytest.mark.parametrize("method", METHODS[:2])
def test_images_that_do_not_do(method: Any) -> None:
    with pytest.raises(DataError, match=r"4 images of .*: at least 8"):
        residual().recover(method, images(4, batch=2))


@pytest.mark.parametrize("method", METHODS[:2])
def test_progress_is_told_layer_by_layer(method: Any) -> None:
    told: list[tuple[str, int, int]] = []
    pruned = residual()
    recover(pruned.network, method, images(), lambda *args: told.append(args))
    assert told == [("recovering", k, 3) for k in (1, 2, 3)]


def test_the_error_is_that_of_the_outputs() -> None:
    pruned, data = residual(), images()
    recovered = pruned.recover("least-squares", data)
    for model, told in (
        (pruned.model, recovered.error_before),
        (recovered.model, recovered.error_after),
    ):
        assert told == pytest.approx(error(pruned.original, model, data), rel=1e-3)
    assert output_error(pruned.original, pruned.original, data) == 0.0


@pytest.mark.parametrize("end", ["Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("moved", [False, True])
def test_before_a_softmax_logits_are_compared_and_after_a_sigmoid_scores(
    end: str, moved: bool
) -> None:
    behind = (
        "i = Identity (squashed)\n  out = Flatten (i)" if moved else "out = Identity (squashed)"
    )
    proto = network(f"{BODY}\n  squashed = {end} (y)\n  {behind}", WEIGHTS)
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("out", 1, ["n", 5]))
    squashed, plain = prune(proto, a=[0, 3]), residual(a=[0, 3])
    told = output_error(squashed.original, squashed.model, images())
    logits = output_error(plain.original, plain.model, images())
    assert told is not None
    assert (told == pytest.approx(logits, rel=1e-6)) == (end != "Sigmoid")


def test_logits_that_are_not_finite_are_not_compared() -> None:
    """A class that never is: its logit is -inf, its probability 0."""
    closed = "closed = Constant <value = float[5] {0.0, 0.0, 0.0, 0.0, -inf}> ()"
    proto = network(f"{BODY}\n  {closed}\n  l = Add (y, closed)\n  out = Softmax (l)", WEIGHTS)
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("out", 1, ["n", 5]))
    pruned = prune(proto, a=[0, 3])
    error = output_error(pruned.original, pruned.model, images())
    assert error is not None
    assert 0 < error < 1


def test_several_outputs_count_alike_and_those_without_spread_do_not() -> None:
    body = f"""{BODY}
      two = Constant <value = float {{100.0}}> ()
      z = Mul (y, two)
      zero = Sub (y, y)
      k = ArgMax (y)"""
    proto = network(body, WEIGHTS)
    names = (("z", 1, ["n", 5]), ("zero", 1, ["n", 5]), ("k", 7, [1, 5]))
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(*parts) for parts in names)
    pruned, single = prune(proto, a=[0, 3]), residual(a=[0, 3])
    error = output_error(pruned.original, pruned.model, images())
    assert error == pytest.approx(output_error(single.original, single.model, images()), rel=1e-5)
