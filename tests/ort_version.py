"""Which ONNX Runtime runs the tests: the newest one of an older Python lacks some ops."""

import onnxruntime as ort


def ort_is_older_than(version: str) -> bool:
    """Whether this ONNX Runtime comes before ``version``, by major and minor number."""
    have, wanted = (tuple(map(int, v.split(".")[:2])) for v in (ort.__version__, version))
    return have < wanted
