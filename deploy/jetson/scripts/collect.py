"""From what run.sh left of a case to its result, and from all results to results.json."""

import os
import sys

import bundle
import layers
import logs

_SLOWER = 1.05  # the last quarter against the first: what counts as slowed down
_CLOCK = 0.95  # of the highest clock seen under load
_HOT = 85.0  # degrees of the GPU
_NOISY = 0.1  # interquartile range against the median
_RUNS = 2000  # single times kept of a case


def text_of(file):
    """Return a file's text, "" where there is none."""
    if not os.path.exists(file):
        return ""
    with open(file, encoding="utf-8", errors="replace") as opened:
        return opened.read()


def throttled(times, samples):
    """Return why the device is thought to have slowed down while it was measured; [] if not."""
    reasons = []
    quarter = len(times) // 4
    if quarter >= 5:
        first = logs.percentile(times[:quarter], 0.5)
        last = logs.percentile(times[-quarter:], 0.5)
        if last > _SLOWER * first:
            reasons.append("runs took %.0f%% longer at the end" % (100 * (last / first - 1)))
    busy = [s for s in samples if (s["gpu_load"] or 0) >= 50]
    for key, name in (("gpu_mhz", "GPU"), ("cpu_mhz", "CPU")):
        clocks = [s[key] for s in busy if s[key]]
        if clocks and min(clocks) < _CLOCK * max(clocks):
            reasons.append("%s clock fell from %d to %d MHz" % (name, max(clocks), min(clocks)))
    heat = max((s["gpu_c"] for s in busy if s["gpu_c"]), default=0.0)
    if heat >= _HOT:
        reasons.append("the GPU reached %.1f degrees" % heat)
    return reasons


def measured(name):
    """Return the row of a case that was built, checked and timed."""
    found = bundle.manifest()
    model, precision, batch = bundle.case(found, name)
    log = logs.trtexec_log(text_of(bundle.path(name, "time.log")))
    times = [t["latencyMs"] for t in bundle.read_json(bundle.path(name, "times.json"))]
    if not log["passed"] or not times or not log["qps"]:
        return None
    samples = logs.tegrastats(text_of(bundle.path(name, "tegrastats.txt")))
    busy = [s for s in samples if (s["gpu_load"] or 0) >= 50] or samples
    power = [s["power_mw"] / 1000.0 for s in busy if s["power_mw"] is not None]
    watts = sum(power) / len(power) if power else None
    speed = log["qps"] * batch
    low, median, high, p90 = (logs.percentile(times, q) for q in (0.25, 0.5, 0.75, 0.9))
    reasons = throttled(times, samples)
    step = max(1, -(-len(times) // _RUNS))
    seconds = text_of(bundle.path(name, "build.seconds")).strip()
    return {
        "model": "%s %s" % (model["name"], precision),
        "name": model["name"],
        "precision": precision,
        "batch_size": batch,
        "images_per_s": speed,
        "latency_ms": {"median": median, "p90": p90, "iqr": high - low},
        "runs": times[::step],
        "noisy": (high - low) > _NOISY * median,
        "throttled": bool(reasons),
        "throttled_because": reasons,
        "warnings": log["warnings"],
        "engine_bytes": os.path.getsize(bundle.path(name, "engine")),
        "build_seconds": int(seconds) if seconds else None,
        "peak_memory_mb": max((s["ram_mb"] for s in samples), default=None),
        "power_w": watts,
        "energy_per_image_j": watts / speed if watts else None,
        "check": bundle.read_json(bundle.path(name, "check.json")),
        "gpu": {k: log[k] for k in ("gpu", "sm", "tensorrt", "gpu_clock_ghz", "gpu_memory_mb")},
    }


def timed(name):
    """Record a case."""
    row = measured(name)
    if row is None:
        failed(name, "time", bundle.path(name, "time.log"))
        return
    profile = bundle.path(name, "profile.json")
    if os.path.exists(profile):
        try:
            row["profile"] = bundle.read_json(profile)[1:]
        except ValueError:
            row["profile"] = []
    bundle.write_json(bundle.path(name, "result.json"), row)
    print("    %.1f images/s, %.2f ms%s" % (
        row["images_per_s"], row["latency_ms"]["median"],
        ", throttled: " + "; ".join(row["throttled_because"]) if row["throttled"] else "",
    ))  # fmt: skip
    finish(quiet=True)


def failed(name, stage, log):
    """Record that a case failed; earlier results stay."""
    model, precision, batch = bundle.case(bundle.manifest(), name)
    reason = text_of(log).strip() if stage == "outputs" else logs.why_failed(text_of(log))
    entry = {
        "failed": stage,
        "model": model["name"],
        "precision": precision,
        "batch_size": batch,
        "reason": reason,
    }
    bundle.write_json(bundle.path(name, "result.json"), entry)
    print("    failed (%s): %s" % (stage, reason))
    finish(quiet=True)


def finish(quiet=False):
    """Write results.json from all cases that have a result."""
    found = bundle.manifest()
    names = [name for name, _, _, _ in bundle.cases(found)]
    present = [bundle.path(n, "result.json") for n in names]
    entries = [bundle.read_json(file) for file in present if os.path.exists(file)]
    rows = [e for e in entries if "failed" not in e]
    machine = bundle.read_json(os.path.join(bundle.WORK, "facts.json"))
    for row in rows:
        machine.update({k: v for k, v in row.pop("gpu").items() if v is not None})
    if machine.get("sm") == found["sm"]:  # else it is another device than the bundle was made for
        machine["name"] = "%s (%s)" % (found["device"], machine["name"])
    result = {
        "schema": 1,
        "tool": found["tool"],
        "target": found["target"],
        "machine": machine,
        "backend": "tensorrt",
        "models": [{k: m[k] for k in ("name", "source", "pruned_from")} for m in found["models"]],
        "rows": rows,
        "failed": [e for e in entries if "failed" in e],
        "missing": len(names) - len(entries),
    }
    result.update(layers.table(found, rows))
    for row in rows:
        row.pop("profile", None)
    bundle.write_json("results.json", result)
    if not quiet:
        text = "results.json: %d measured, %d failed, %d not done"
        print(text % (len(rows), len(result["failed"]), result["missing"]))


if __name__ == "__main__":
    {"timed": timed, "failed": failed, "finish": finish}[sys.argv[1]](*sys.argv[2:])
