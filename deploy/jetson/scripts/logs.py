"""What trtexec and tegrastats print, as numbers."""

import re

_TIME = r"^\[[^\]]*\] \[[A-Z]\] "
_OUT_OF_MEMORY = ("out of memory", "OutOfMemory", "insuficient memory", "insufficient memory")


def trtexec_log(text):
    """Return what a log says: passed, queries per second, GPU, versions, memory, warnings."""
    found = {"passed": None, "qps": None, "gpu": None, "sm": None, "tensorrt": None}
    found["warnings"] = []
    for line in text.splitlines():
        if line.startswith("&&&& PASSED"):
            found["passed"] = True
        elif line.startswith("&&&& FAILED"):
            found["passed"] = False
        body = re.sub(_TIME, "", line)
        for key, pattern in (
            ("qps", r"Throughput: ([0-9.e+]+) qps$"),
            ("gpu", r"Selected Device: (.+)$"),
            ("sm", r"Compute Capability: ([0-9.]+)$"),
            ("tensorrt", r"TensorRT version: ([0-9.]+)$"),
            ("gpu_clock_ghz", r"Compute Clock Rate: ([0-9.]+) GHz$"),
            ("gpu_memory_mb", r"Device Global Memory: ([0-9]+) MiB$"),
        ):
            match = re.match(pattern, body)
            if match:
                found[key] = match.group(1)
        if "] [W] * " in line:
            found["warnings"].append(body[2:])
    for key in ("qps", "gpu_clock_ghz", "gpu_memory_mb"):
        found[key] = float(found[key]) if found.get(key) else None
    return found


def why_failed(text):
    """Return the reason of a log that did not pass, in one line."""
    errors = [re.sub(_TIME, "", line) for line in text.splitlines() if "] [E] " in line]
    if any(word in text for word in _OUT_OF_MEMORY) and not _names_a_node(errors):
        return "out of memory: a smaller batch, or a smaller workspace_mib in bundle.json, may fit"
    named = re.search(r"\[\d+\] Invalid Node - (\S+)\s*\n(.*)", text)
    if named:
        return "node '%s': %s" % (named.group(1), named.group(2).strip())
    if errors:
        return errors[0].replace("[TRT] ", "")[:300]
    lines = [line for line in text.splitlines() if line.strip()]
    if "&&&& RUNNING" in text and "&&&&" not in (lines[-1] if lines else ""):
        last = re.sub(_TIME, "", lines[-1])[:120]
        return "trtexec ended without a verdict (killed, most likely for memory) after: " + last
    return lines[-1][:300] if lines else "trtexec printed nothing"


def _names_a_node(errors):
    return any("Invalid Node" in error or "parseGraph" in error for error in errors)


def tegrastats(text):
    """Return the samples of tegrastats: MB of memory, mW of input power, MHz, degrees."""
    samples = []
    for line in text.splitlines():
        ram = re.search(r"RAM (\d+)/(\d+)MB", line)
        if not ram:
            continue
        cpus = re.search(r"CPU \[([^\]]*)\]", line)
        power = re.search(r"\b(?:VDD_IN|POM_5V_IN|VIN_SYS_5V0) (\d+)(?:mW)?/", line)
        gpu = re.search(r"GR3D_FREQ (\d+)%(?:@\[?(\d+))?", line)
        heat = re.search(r"\bGPU@([0-9.]+)C", line)
        clocks = re.findall(r"(\d+)%@(\d+)", cpus.group(1)) if cpus else []
        samples.append(
            {
                "ram_mb": int(ram.group(1)),
                "power_mw": int(power.group(1)) if power else None,
                "gpu_load": int(gpu.group(1)) if gpu else None,
                "gpu_mhz": int(gpu.group(2)) if gpu and gpu.group(2) else None,
                "gpu_c": float(heat.group(1)) if heat else None,
                "cpu_mhz": max((int(mhz) for _, mhz in clocks), default=None),
            }
        )
    return samples


def percentile(values, share):
    """Return the value below which ``share`` of the values lie, between neighbours linearly."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
