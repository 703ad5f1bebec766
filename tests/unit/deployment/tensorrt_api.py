"""What of TensorRT's Python API is used: the names, and the names of parameters in their order.

Sources, where every name below was looked up:

* 8.5: the wheel `tensorrt` 8.5.3.1, by `against_wheel`
* 10 and 11: python/src/infer/pyCore.cpp, pyGraph.cpp and python/src/parsers/pyOnnx.cpp of
  https://github.com/NVIDIA/TensorRT at the tags v10.0.0, v10.16, v11.0 and v11.1
* Polygraphy: tools/Polygraphy/polygraphy/backend/trt/runner.py there, at the same tags
"""

import re

METHODS = {
    "Builder.__init__": ("logger",),
    "Builder.create_network": ("flags",),
    "Builder.create_optimization_profile": (),
    "Builder.create_builder_config": (),
    "Builder.build_serialized_network": ("network", "config"),
    "OnnxParser.__init__": ("network", "logger"),
    "OnnxParser.parse": ("model", "path"),
    "OnnxParser.get_error": ("index",),
    "ParserError.node": (),
    "ParserError.desc": (),
    "IBuilderConfig.set_memory_pool_limit": ("pool", "pool_size"),
    "IBuilderConfig.set_flag": ("flag",),
    "IBuilderConfig.clear_flag": ("flag",),
    "IBuilderConfig.add_optimization_profile": ("profile",),
    "IBuilderConfig.create_timing_cache": ("serialized_timing_cache",),
    "IBuilderConfig.set_timing_cache": ("cache", "ignore_mismatch"),
    "IBuilderConfig.get_timing_cache": (),
    "IOptimizationProfile.set_shape": ("input", "min", "opt", "max"),
    "ITimingCache.serialize": (),
    "Runtime.__init__": ("logger",),
    "Runtime.deserialize_cuda_engine": ("serialized_engine",),
    "ILogger.__init__": (),
    "Logger.__init__": ("min_severity",),
}
PROPERTIES = ("OnnxParser.num_errors",)
VALUES = {  # and the versions that have them
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": ("8.5", "10"),
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": ("10", "11"),
    "BuilderFlag.FP16": ("8.5", "10"),
    "BuilderFlag.INT8": ("8.5", "10"),
    "BuilderFlag.TF32": ("8.5", "10", "11"),
    "MemoryPoolType.WORKSPACE": ("8.5", "10", "11"),
    "ILogger.ERROR": ("8.5", "10", "11"),
    "ILogger.INTERNAL_ERROR": ("8.5", "10", "11"),
    "Logger.WARNING": ("8.5", "10", "11"),
}
FUNCTIONS = {"init_libnvinfer_plugins": ("logger", "namespace")}
POLYGRAPHY = {"TrtRunner": ("activate", "deactivate", "infer")}


def against_wheel(trt):
    """Assert that an installed 8.5 has all of this, with these parameters."""
    for name, parameters in METHODS.items():
        owner, _, method = name.partition(".")
        text = getattr(getattr(trt, owner), method).__doc__.strip()
        line = next(t for t in text.splitlines() if "self:" in t)
        listed = re.match(r".*?\((.*)\) -> ", line).group(1)
        arguments = re.findall(r"(?:^|, )(\w+):", listed)
        assert arguments[1:] == list(parameters), (name, arguments)
    for name in FUNCTIONS:
        assert callable(getattr(trt, name)), name
    for name in PROPERTIES:
        owner, _, member = name.partition(".")
        assert isinstance(getattr(getattr(trt, owner), member), property), name
    for name, versions in VALUES.items():
        owner, _, member = name.partition(".")
        assert hasattr(getattr(trt, owner), member) == ("8.5" in versions), name
