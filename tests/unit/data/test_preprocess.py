"""``--preprocess``: its text, its defaults and its messages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprune_onnx.data import Preprocess, parse_preprocess
from reprune_onnx.data.preprocess import PRESETS
from reprune_onnx.errors import UsageError

U8, F32 = np.dtype(np.uint8), np.dtype(np.float32)
value = st.floats(-1e6, 1e6, allow_nan=False)
side = st.integers(1, 5000)


@settings(deadline=None)
@given(
    st.builds(
        Preprocess,
        scale=st.none() | st.floats(1e-6, 1e6) | st.integers(1, 5000).map(lambda n: 1 / n),
        mean=st.just(()) | st.tuples(value) | st.tuples(value, value, value),
        std=st.just(()) | st.tuples(st.floats(1e-6, 1e6)),
        size=st.none() | side | st.tuples(side, side),
        crop=st.none() | st.just("model") | st.tuples(side, side),
        color=st.sampled_from([None, "rgb", "bgr", "gray"]),
        layout=st.sampled_from([None, "nchw", "nhwc"]),
    )
    | st.builds(
        Preprocess,
        scale=st.none() | st.floats(1e-6, 1e6),
        size=st.none() | side | st.tuples(side, side),
        fit=st.sampled_from(["letterbox", "corner"]),
        fill=st.none() | st.floats(-255, 255),
    )
)
def test_text_round_trip(preprocess):
    assert parse_preprocess(str(preprocess)) == preprocess


@pytest.mark.parametrize("name", PRESETS)
def test_presets_by_name(name):
    assert parse_preprocess(name) == PRESETS[name]
    assert str(PRESETS[name]) == name


def test_a_preset_with_changes():
    changed = parse_preprocess(" CIFAR10 ; layout = nhwc ;")
    assert changed.mean == PRESETS["cifar10"].mean and changed.layout == "nhwc"


def test_default_scale():
    def scale(text, raw=U8, model=F32):
        return parse_preprocess(text).resolve(raw, model).scale

    assert scale(None) == 1 / 255
    assert scale(None, raw=F32) == 1
    assert scale(None, model=U8) == 1
    assert scale("none") == 1
    assert scale("mean=.5;std=.5") == 1 / 255
    assert scale("mean=127.5;std=127.5") == 1
    assert scale("mean=127.5;scale=1/255") == 1 / 255


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imagnet", ["did you mean 'imagenet'", "cifar10", "imagenet-bgr", "none", "mean"]),
        ("", ["is unknown"]),
        ("mena=1", ["did you mean 'mean'", "layout"]),
        ("scale=1/255;imagenet", ["'imagenet' comes after"]),
        ("mean=1;mean=2", ["twice"]),
        ("mean=a", ["mean='a'", "finite"]),
        ("mean=nan", ["finite"]),
        ("scale=1/0", ["fraction"]),
        ("scale=0", ["different from 0"]),
        ("std=1,0,1", ["above 0"]),
        ("mean=1,2;std=1,2,3", ["2 values", "std has 3"]),
        ("size=0", ["size='0'", "H,W"]),
        ("crop=1,2,3", ["H,W"]),
        ("crop=²", ["H,W"]),
        ("color=red", ["rgb, bgr, gray"]),
        ("layout=hwc", ["nchw, nhwc"]),
    ],
)
def test_bad_text(text, words):
    with pytest.raises(UsageError) as error:
        parse_preprocess(text)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
