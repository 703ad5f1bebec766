"""Device targets: the shipped files, a file of one's own, and what is said of a bad one."""

import pytest

from reprune_onnx.errors import UsageError
from reprune_onnx.rounding import Rounding
from reprune_onnx.settings import Settings
from reprune_onnx.targets import read_target, target_names

GOOD = 'precisions = ["fp16", "fp32"]\n[multiples]\nfp16 = 4\n'


def test_every_shipped_target_reads():
    names = target_names()
    assert {"cpu", "cuda", "jetson-tx2", "rtx-a6000"} <= set(names)
    for name in names:
        target = read_target(name)
        assert target.name == name
        assert target.description
        for precision in target.precisions:
            assert target.rounding_in(precision)
        assert target.limits.opset
        assert target.limits.ir
        assert (target.build.builder == "onnxruntime") == (not target.build.tensorrt)


def test_what_a_jetson_tx2_reads_and_how_it_builds():
    target = read_target("jetson-tx2")
    assert "int8" not in target.precisions
    assert (target.limits.opset, target.limits.ir, target.limits.types) == (13, 7, "flags")
    assert target.limits.constants
    assert (target.build.sm, target.build.cores) == ("6.2", "0,3-5")
    assert target.build.workspace == "--workspace="


@pytest.mark.parametrize(
    ("target", "precision", "rounding"),
    [
        ("cpu", None, Rounding(16)),
        ("cuda", None, Rounding(8)),
        ("rtx-a6000", "fp16", Rounding(8)),
        ("rtx-a6000", "int8", Rounding(32)),
        ("jetson-tx2", None, Rounding(32, narrow=8)),
    ],
)
def test_the_rounding_of_a_target(target, precision, rounding):
    settings = Settings(sparsity=0.5, target=target, precision=precision)
    assert settings.rounding == rounding
    assert Settings(sparsity=0.5, target=target, precision=precision, round_to=3).rounding == (
        Rounding(3)
    )


def test_a_file_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    settings = Settings(sparsity=0.5, target="mine.toml")
    assert settings.rounding == Rounding(4)
    assert settings.as_report()["target"] == "mine"
    assert not Settings(sparsity=0.5, target=str(path), precision="fp32").rounding


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target": "jetson-tx3"}, "did you mean 'jetson-tx2'?"),
        ({"target": "toaster"}, "give one of cpu, cuda, "),
        ({"target": "none-such.toml"}, "'none-such.toml' is not known"),
        ({"target": "jetson-tx2", "precision": "int8"}, "jetson-tx2 has no int8; it has fp16"),
        ({"precision": "fp16"}, "--target"),
        ({"round_to": 0}, "--round-to 0 must be at least 1"),
    ],
)
def test_what_no_device_is(settings, says):
    with pytest.raises(UsageError) as refused:
        Settings(sparsity=0.5, **settings)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "precisions = 5",
        "precisions = []\n[multiples]",
        GOOD + "int8 = 4",
        GOOD.replace("4", "0"),
        GOOD.replace("4", "'4'"),
        GOOD + "[narrow]\nint8 = 4",
        "precisions = [",
        "multiples = 4\nprecisions = ['fp32']",
        GOOD + "[onnx]\nopset = 'new'",
        GOOD + "[onnx]\ntypes = 'both'",
        GOOD + "[onnx]\nopsets = 13",
        GOOD + "[build]\nwith = 'luck'",
        GOOD + "[build]\ncores = 4",
        "precisions = " + "[" * 100_000,
    ],
)
def test_files_that_describe_no_target(text, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="does not describe a target"):
        read_target(str(path))
