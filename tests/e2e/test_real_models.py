"""Real files of many exporters: pruned at half, verified, and otherwise left as they were."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import reprune_onnx as rp


@dataclass(frozen=True)
class Floor:
    """The least that a model must yield: Convs that lose channels, of how many, and MACs."""

    pruned: int
    convs: int
    macs: float
    residual: str = "keep"


FLOORS = {
    "rfb320": Floor(39, 52, 0.64),
    "derived_squeezenet_fp32": Floor(25, 26, 0.66),
    "derived_shufflenetv2_fp32": Floor(43, 56, 0.54),
    "mobilefacenet_zaru": Floor(35, 51, 0.53),
    "winml_candy": Floor(9, 16, 0.50),
    "superres_zoo10": Floor(3, 4, 0.72),
    "winml_squeezenet_fp16": Floor(25, 26, 0.66),
    "nanodet_m_320": Floor(51, 73, 0.50),
    "scrfd_500m_bnkps": Floor(44, 60, 0.64),
    "yunet_n_dynamic": Floor(27, 59, 0.62),
    "ppocr_det_v2mobile": Floor(37, 58, 0.54),
    "ppocr_cls_v2": Floor(43, 53, 0.50),
    "person_reid_0248": Floor(90, 188, 0.33),
    "zoo_yolox_nano": Floor(94, 113, 0.65),
    "fastestdet": Floor(54, 70, 0.49),
    "zoo_vittracker": Floor(18, 23, 0.46),
    "mp_face_det_full": Floor(40, 89, 0.29),
    "road_seg_adas": Floor(82, 137, 0.38),
    "mp_palm_detection_lite": Floor(20, 53, 0.22, residual="prune"),
}

# Why channels may stay. Those of ATTENTION are for attention across channels.
REASONS = [
    r"the channels of graph output '.*' stay",
    r"meets the residual (Add|Sub) '.*' \(--residual keep\)",
    r"the only channel of an activation",
    r"all channels of an activation are tied to each other: none could go alone",
    r"no group of Conv '.*' can go without channels that must stay",
    r"Softmax '.*' mixes the channels",
    r"ReduceMean '.*' mixes the channels \(--norm-statistics lock\)",
]
ATTENTION = [
    r"(Sub|Div) '.*' spreads this one channel over all channels of another input",
    r"MatMul '.*' has channels along another axis than the one it sums over",
    r"MatMul '.*' multiplies activations .*",
    r"MatMul '.*' sums over the channels, with no weight that could be cut",
    r"the channels of '.*' are arranged along several axes and cannot be cut apart",
]
WITH_ATTENTION = {"zoo_vittracker", "person_reid_0248"}

CONSTANT_MAKERS = {"Constant", "ConstantOfShape", "Shape", "Range"}


@dataclass(frozen=True)
class Pair:
    name: str
    original: onnx.ModelProto
    pruned: onnx.ModelProto
    report: dict


@cache
def prune(path: Path, residual: str) -> Pair:
    model = rp.load(path)
    settings = rp.Settings(
        recover="none", sparsity=0.5, method="l1", allocation="uniform", residual=residual
    )
    pruned = rp.prune(model, settings)
    return Pair(path.stem, model.proto, pruned.model.proto, json.loads(json.dumps(pruned.report)))


@pytest.fixture(params=FLOORS, scope="module")
def pair(request, shared) -> Pair:
    path = shared / "models" / f"{request.param}.onnx"
    return prune(path, FLOORS[request.param].residual)


def test_it_prunes_and_verifies(pair):
    floor = FLOORS[pair.name]
    convs = [k for k in pair.report["layers"] if k["op"] in ("Conv", "ConvTranspose")]
    pruned = [k for k in convs if k["out_channels"][1] < k["out_channels"][0]]
    assert len(convs) == floor.convs
    assert len(pruned) >= floor.pruned
    assert pair.report["achieved"]["macs_reduction"] >= floor.macs
    assert all(1 <= k["out_channels"][1] <= k["out_channels"][0] for k in pair.report["layers"])
    v = pair.report["verification"]
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in pair.original.graph.initializer)
    assert v["passed"]
    assert v["max_abs_diff"] <= (5e-3 if half else 1e-5) * v["scale"]
    assert v["negative_control"] >= 1e-2 * v["scale"]
    assert v["runs"] >= 2


def test_channels_stay_only_for_a_good_reason(pair):
    good = [*REASONS, *(ATTENTION if pair.name in WITH_ATTENTION else ())]
    for lock in pair.report["locked"]:
        assert any(re.fullmatch(reason, lock["reason"]) for reason in good), lock


def test_what_is_not_cut_is_as_it_was(pair):
    a, b = pair.original, pair.pruned
    assert b.ir_version == a.ir_version
    assert list(b.opset_import) == list(a.opset_import)
    assert list(b.functions) == list(a.functions)
    for field in (
        "producer_name",
        "producer_version",
        "domain",
        "model_version",
        "doc_string",
    ):
        assert getattr(b, field) == getattr(a, field)
    assert b.graph.name == a.graph.name
    assert b.graph.doc_string == a.graph.doc_string
    metadata = {p.key: p.value for p in b.metadata_props}
    assert {p.key: p.value for p in a.metadata_props}.items() <= metadata.items()
    assert [k for k in metadata if k.startswith("reprune_onnx.")] == [
        "reprune_onnx.version",
        "reprune_onnx.settings",
        "reprune_onnx.source_sha256",
    ]


def test_inputs_and_outputs_are_as_they_were(pair):
    a, b = pair.original.graph, pair.pruned.graph
    assert list(b.output) == list(a.output)
    weights = {t.name for t in a.initializer}
    assert [i for i in b.input if i.name not in weights] == [
        i for i in a.input if i.name not in weights
    ]
    # weights that are also inputs are still both, with the shape that they have now
    names = [i.name for i in b.input]
    assert names[: len(a.input)] == [i.name for i in a.input]
    initializers = {t.name: list(t.dims) for t in b.initializer}
    for value in b.input:
        if value.name in initializers:
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
            assert shape == initializers[value.name]
    assert {v.name for v in b.value_info} <= {v.name for v in a.value_info}


def test_every_weight_is_still_there_by_name(pair):
    a = [t.name for t in pair.original.graph.initializer]
    b = [t.name for t in pair.pruned.graph.initializer]
    assert len(set(b)) == len(b)
    kept = set(b)
    assert [n for n in a if n in kept] == b[: sum(n in kept for n in a)]
    read = {n for node in pair.pruned.graph.node for n in node.input}
    assert not (set(a) - kept) & read
    for name in set(a) - kept:  # only what a removed chain of constants has read may be gone
        readers = [n for n in pair.original.graph.node if name in n.input]
        assert all(not_there(n, pair.pruned) for n in readers)


def test_every_node_is_still_there_and_only_chains_of_constants_went(pair):
    after = {tuple(n.output): n for n in pair.pruned.graph.node}
    constants = {t.name for t in pair.original.graph.initializer}
    places = []
    for n in pair.original.graph.node:
        if n.op_type in CONSTANT_MAKERS or all(i in constants for i in n.input if i):
            constants.update(n.output)
        same = after.get(tuple(n.output))
        if same is None:
            assert all(o in constants for o in n.output), n.name
            continue
        places.append(list(after).index(tuple(n.output)))
        assert (same.op_type, same.domain, same.name) == (n.op_type, n.domain, n.name)
        assert same.doc_string == n.doc_string
        assert {k.name for k in n.attribute} - {"num_outputs"} <= {k.name for k in same.attribute}
    assert places == list(range(len(pair.pruned.graph.node)))


def not_there(n: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    return not any(set(n.output) & set(other.output) for other in model.graph.node)


def test_only_integers_that_the_report_names_have_changed(pair):
    """Attributes of nodes are the original's, except those of the report's "rewritten"."""
    named = {r["node"] for r in pair.report["rewritten"] if "node" in r}
    after = {tuple(n.output): n for n in pair.pruned.graph.node}
    changed = set()
    for k, n in enumerate(pair.original.graph.node):
        same = after.get(tuple(n.output))
        if (
            same is not None
            and n.op_type != "Constant"
            and list(same.attribute) != list(n.attribute)
        ):
            changed.add(n.name or f"{n.op_type}_{k}")
    assert changed <= named


def test_the_checker_passes_where_it_passed(pair):
    try:
        onnx.checker.check_model(pair.original, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError):
        return  # the original has this flaw, which is not the tool's
    onnx.checker.check_model(pair.pruned, full_check=True)


def test_it_runs_with_all_optimizations(pair):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        ort.InferenceSession(p.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for p in (pair.original, pair.pruned)
    ]
    weights = {t.name for t in pair.original.graph.initializer}
    feeds = {i.name: feed(i) for i in sessions[0].get_inputs() if i.name not in weights}
    outputs = [s.run(None, feeds) for s in sessions]
    for a, b in zip(*outputs, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.asarray(a).ndim == np.asarray(b).ndim
        assert np.asarray(a).shape[-1] == np.asarray(b).shape[-1]
        assert np.isfinite(np.asarray(b, dtype=np.float64)).all()


def feed(port) -> np.ndarray:
    defaults = (1, 3, 96, 96) if len(port.shape) == 4 else (1,) * len(port.shape)
    shape = [s if isinstance(s, int) else d for s, d in zip(port.shape, defaults, strict=True)]
    kind = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(uint8)": np.uint8}
    return np.random.default_rng(0).random(shape).astype(kind[port.type])


def test_the_cuts_are_what_the_file_has(pair):
    """Each tensor is the original's, taken along the axes that the report names."""
    before, after = values(pair.original), values(pair.pruned)
    cuts: dict[str, list[dict]] = {}
    for cut in pair.report["cuts"]:
        cuts.setdefault(cut["initializer"], []).append(cut)
    for name, array in after.items():
        source = cuts[name][0].get("source") or name if name in cuts else name
        if source not in before:
            continue  # computed by a chain of constants in the original
        expected = before[source]
        for cut in cuts.get(name, ()):
            assert cut["keep"] == sorted(set(cut["keep"]))
            expected = np.take(expected, cut["keep"], axis=cut["axis"])
        if array.dtype.kind == "f":
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected, err_msg=name)


def values(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for n in model.graph.node:
        for a in n.attribute:
            if n.op_type == "Constant" and a.name == "value":
                tensors[n.output[0]] = numpy_helper.to_array(a.t)
    return tensors


# ── refused ─────────────────────────────────────────────────────────────────────────────────────

REFUSED = {
    "shufflenetv2_int8": "quantized",
    "winml_pcb_aoi": "ONNX Runtime lacks com.microsoft.LegacyPadding",
    "superres_ort_web": "ONNX Runtime lacks ai.onnx.contrib.SuperResolutionPreProcess",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_pruned_is_refused(call, shared, tmp_path, name):
    source, out = shared / "models" / f"{name}.onnx", tmp_path / "small.onnx"
    result = call("prune", source, "-o", out, "--sparsity", "0.5")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith("reprune-onnx: ")
    assert REFUSED[name] in line
    assert not list(tmp_path.iterdir())


def test_custom_operators_are_pruned_around_where_no_proof_is_wanted(call, shared, tmp_path):
    source, out = shared / "models" / "superres_ort_web.onnx", tmp_path / "small.onnx"
    how = ("--sparsity", "0.5", "--method", "l1", "--allocation", "uniform", "--no-verify")
    result = call("prune", source, "-o", out, *how)
    assert result.code == 0
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert report["verification"] is None
    assert [k["out_channels"][1] for k in report["layers"]] == [32, 32, 16, 9]
    assert report["achieved"]["params_reduction"] > 0.5
    a, b = onnx.load(source), onnx.load(out)
    assert [n.op_type for n in b.graph.node] == [n.op_type for n in a.graph.node]
