"""A stand-in for trtexec 8.2: it takes its flags, prints what it prints, and writes its files.

It builds and computes nothing: the "engine" is a line of text, and outputs are the references of
the bundle. How it behaves per case comes from the JSON file that STAND_IN names.

Formats are those of TensorRT 8.2.1's own sources and logs:

* flags: https://github.com/NVIDIA/TensorRT/blob/8.2.1/samples/common/sampleOptions.cpp
* the JSON of times, outputs and profiles, the summary, and that a batch counts as one query:
  https://github.com/NVIDIA/TensorRT/blob/8.2.1/samples/common/sampleReporting.cpp
* the head of a log, on a TX2: https://github.com/NVIDIA/TensorRT/issues/2188
* the summary with these figures, on a Xavier NX: https://github.com/OE4T/meta-tegra/pull/1124
* a parser that fails (8.2.5): the README of NVIDIA/TensorRT, tag v10.0.0,
  tools/experimental/trt-engine-explorer/examples/pytorch/resnet
* memory that does not suffice (8.2.1): https://github.com/ultralytics/ultralytics/issues/14751

Python 3.6, standard library only: it runs where the scripts run.
"""

import array
import json
import os
import re
import signal
import sys
import time

FLAGS_OF_8_2 = """
allowGPUFallback avgRuns avgTiming batch best buildOnly calib consistency deploy device directIO
dumpLayerInfo dumpOutput dumpProfile dumpRefit exportLayerInfo exportOutput exportProfile
exportTimes exposeDMA fp16 help idleTime inputIOFormats int8 iterations loadEngine loadInputs
maxBatch maxShapes maxShapesCalib minShapes minShapesCalib minTiming model noBuilderCache
noDataTransfers noTF32 onnx optShapes optShapesCalib output outputIOFormats percentile plugins
precisionConstraints profilingVerbosity refit restricted safe saveEngine separateProfileRun shapes
sleepTime sparsity streams tacticSources threads timeDeserialize timeRefit timingCacheFile uff
uffInput uffNHWC useCudaGraph useDLACore useManagedMemory useSpinWait verbose warmUp workspace
duration
""".split()

NOW = "[11/21/2026-12:00:00]"
COMMAND = "TensorRT.trtexec [TensorRT v8201] # trtexec " + " ".join(sys.argv[1:])


def say(text, level="I"):
    """Print a line of the log."""
    print("%s [%s] %s" % (NOW, level, text), flush=True)


def end(passed):
    """Print the verdict and exit as trtexec does."""
    print("&&&& %s %s" % ("PASSED" if passed else "FAILED", COMMAND), flush=True)
    sys.exit(0 if passed else 1)


def options():
    """Return the flags; unknown ones end it, as in 8.2."""
    found = {}
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if not name.startswith("--") or name[2:] not in FLAGS_OF_8_2:
            say("Unknown option: " + argument, "E")
            end(False)
        found[name[2:]] = value
    return found


def head():
    """Print what stands before the work."""
    say("=== Device Information ===")
    say("Selected Device: NVIDIA Tegra X2")
    say("Compute Capability: 6.2")
    say("SMs: 2")
    say("Compute Clock Rate: 1.3 GHz")
    say("Device Global Memory: 7850 MiB")
    say("TensorRT version: 8.2.1")


def build(given, how):
    """Write an engine, or fail in one of the ways there are."""
    say("Start parsing network model")
    with open(given["saveEngine"], "w") as file:
        file.write("half of an engine")
    if how == "unparsable":
        where = "parsers/onnx/ModelImporter.cpp:796: ERROR: parsers/onnx/ModelImporter.cpp:179 "
        say("[TRT] " + where + "In function parseGraph:", "E")
        print("[6] Invalid Node - Identity_0")
        print("onnx::QuantizeLinear_429: invalid weights type of Int8")
        for text in (
            "Failed to parse onnx file",
            "Parsing model failed",
            "Failed to create engine from model.",
            "Engine set up failed",
        ):
            say(text, "E")
        end(False)
    if how == "no memory":
        say("[TRT] Skipping tactic 3 due to insuficient memory on requested size of 538", "W")
        say(
            "Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::144] Error Code 2: OutOfMemory",
            "E",
        )
        say("Engine set up failed", "E")
        end(False)
    if how == "killed":
        say("[TRT] Local timing cache in use.")
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hangs":
        time.sleep(60)
    with open(given["saveEngine"], "w") as file:
        file.write("engine of " + given["onnx"])
    say("Engine built in 184.708 sec.")
    end(True)


def batch_of(given, model):
    """Return the batch that is run."""
    sizes = re.search(r":(\d+)x", given.get("shapes", ""))
    return int(sizes.group(1)) if sizes else model["images"]


def export_outputs(file, model, batch, wrong):
    """Write the references as trtexec writes outputs: six digits."""
    texts = []
    for port in model["outputs"]:
        values = array.array("f")
        with open(port["reference"], "rb") as opened:
            values.frombytes(opened.read())
        size = len(values) // model["images"]
        rows = [values[(k % model["images"]) * size :][:size] for k in range(batch)]
        flat = [v * (1.5 if wrong else 1.0) for row in rows for v in row]
        extents = "x".join(str(batch if k == 0 else n) for k, n in enumerate(port["shape"]))
        texts.append(
            '{ "name" : "%s"\n  , "dimensions" : "%s"\n  , "values" : [ %s ]\n  }'
            % (port["name"], extents, ", ".join("%.6g" % v for v in flat))
        )
    with open(file, "w") as opened:
        opened.write("[\n  " + "\n, ".join(texts) + "\n]\n")


def export_times(file, batch, slower):
    """Write a trace; a device that slows down takes longer and longer."""
    runs = []
    for k in range(60):
        ms = 0.5 * batch * (1 + (0.4 * k / 60 if slower else 0.001 * (k % 5)))
        keys = ("startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs")
        trace = ['"%s" : %g' % (key, k) for key in keys]
        trace += [
            '"computeMs" : %g' % (0.98 * ms),
            '"latencyMs" : %g' % ms,
            '"endToEndMs" : %g' % ms,
        ]
        runs.append("{ " + ", ".join(trace) + " }")
    with open(file, "w") as opened:
        opened.write("[\n  " + "\n, ".join(runs) + "\n]\n")


def export_profile(file, model, batch):
    """Write layers as TensorRT names them when it has fused them."""
    entries = [("Reformatting CopyNode for Input Tensor 0 to " + model["layers"][0]["layer"], 0.25)]
    for entry in model["layers"]:
        ms = 1e-4 * batch * (10 + entry["rows"] * entry["columns"])
        entries.append((entry["layer"] + " + Relu_of_" + entry["layer"], ms))
    total = sum(ms for _, ms in entries)
    with open(file, "w") as opened:
        opened.write('[\n  { "count" : 10 }\n')
        for name, ms in entries:
            values = (name, 10 * ms, ms, 100 * ms / total)
            text = ', { "name" : "%s", "timeMs" : %g, "averageMs" : %g, "percentage" : %g }\n'
            opened.write(text % values)
        opened.write("]\n")


def run(given, how, model):
    """Load the engine, run it, print the summary, write what is asked for."""
    with open(given["loadEngine"]) as file:
        if not file.read().startswith("engine of"):
            say("Engine deserialization failed", "E")
            end(False)
    for spec in given["loadInputs"].split(","):
        with open(spec.rpartition(":")[2], "rb") as file:
            assert len(file.read()) % 4 == 0
    batch = batch_of(given, model)
    say("Starting inference")
    if how == "truncated" and "exportTimes" in given:
        say("=== Performance summary ===")
        os.kill(os.getpid(), signal.SIGKILL)
    if "exportTimes" in given:
        time.sleep(0.3)
        export_times(given["exportTimes"], batch, how == "slows down")
    say("")
    say("=== Performance summary ===")
    say("Throughput: %g qps" % (1000 / (0.5 * batch)))
    say(
        "Latency: min = 0.564209 ms, max = 0.593018 ms, mean = 0.573891 ms, median = 0.572998 ms,"
        " percentile(99%) = 0.587769 ms"
    )
    say("Total Host Walltime: 3.00158 s")
    say("* Throughput may be bound by Enqueue Time rather than GPU Compute and the GPU may be"
        " under-utilized.", "W")  # fmt: skip
    if "exportOutput" in given:
        export_outputs(given["exportOutput"], model, batch, how == "wrong")
    if "exportProfile" in given:
        export_profile(given["exportProfile"], model, batch)
    end(True)


def main():
    """Do what the flags say."""
    print("&&&& RUNNING " + COMMAND)
    with open(os.environ["STAND_IN"] + ".calls", "a") as file:
        file.write(" ".join(sys.argv[1:]) + "\n")
    given = options()
    with open(os.environ["STAND_IN"]) as file:
        plan = json.load(file)
    with open("bundle.json") as file:
        manifest = json.load(file)
    engine = given.get("saveEngine") or given["loadEngine"]
    case = os.path.basename(os.path.dirname(engine))
    model = next(m for m in manifest["models"] if case.startswith(m["name"] + "-"))
    head()
    if "onnx" in given:
        build(given, plan.get(case))
    run(given, plan.get(case), model)


if __name__ == "__main__":
    main()
