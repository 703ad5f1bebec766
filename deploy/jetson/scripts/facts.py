"""What the device is, for the record: CPU, memory, GPU, versions, power mode and clocks."""

import os
import platform
import subprocess
import sys

import bundle


def text_of(file):
    """Return a file's text without what ends it; "" where it cannot be read."""
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read().strip("\0\n ")
    except (IOError, OSError):
        return ""


def first_line(*command):
    """Return the first line that a command prints, "" where it cannot run."""
    try:
        out = subprocess.check_output(command, stderr=subprocess.STDOUT, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return out.decode("utf-8", "replace").strip().partition("\n")[0]


def cpus(text):
    """Return the kinds of CPU of /proc/cpuinfo, each with its number of cores."""
    counts = {}
    for entry in text.split("\n\n"):
        fields = dict(line.split(":", 1) for line in entry.splitlines() if ":" in line)
        fields = {k.strip(): v.strip() for k, v in fields.items()}
        name = fields.get("model name") or fields.get("CPU part")
        if name:
            counts[name] = counts.get(name, 0) + 1
    return counts


def memory_mb(text):
    """Return MemTotal of /proc/meminfo in MiB."""
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def cuda():
    """Return the version of CUDA as its own folder states it."""
    for file in ("/usr/local/cuda/version.txt", "/usr/local/cuda/version.json"):
        text = text_of(file)
        if file.endswith(".txt") and text:
            return text.replace("CUDA Version ", "")
        if text:
            try:
                return bundle.read_json(file)["cuda"]["version"]
            except (ValueError, KeyError, TypeError):
                return ""
    return ""


def main(work, trtexec, cores):
    """Write facts.json."""
    facts = {
        "name": text_of("/proc/device-tree/model") or platform.node(),
        "cpu": cpus(text_of("/proc/cpuinfo")),
        "ram_mb": memory_mb(text_of("/proc/meminfo")),
        "l4t": text_of("/etc/nv_tegra_release").partition("\n")[0],
        "os": platform.platform(),
        "cuda": cuda(),
        "python": platform.python_version(),
        "trtexec": trtexec,
        "pinned_cores": cores or None,
        "power_mode": text_of(os.path.join(work, "nvpmodel.txt")),
        "clocks": text_of(os.path.join(work, "jetson_clocks.txt")),
        "taken": first_line("date", "-u", "+%Y-%m-%dT%H:%M:%SZ"),
    }
    bundle.write_json(os.path.join(work, "facts.json"), facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
