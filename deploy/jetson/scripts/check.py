"""Inputs for a case, and whether its engine computed what it should from them.

The references are those of a few images; a larger batch is these, again and again. Files hold
float32 values, least significant byte first, as trtexec reads them.
"""

import array
import math
import sys

import bundle


def floats(file):
    """Return the values of a file of float32."""
    values = array.array("f")
    with open(file, "rb") as opened:
        values.frombytes(opened.read())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def repeated(values, images, batch):
    """Return ``batch`` images, of which ``values`` holds ``images``."""
    if batch == images:
        return values
    size = len(values) // images
    made = array.array("f")
    for k in range(batch):
        start = (k % images) * size
        made.extend(values[start : start + size])
    return made


def write_inputs(name):
    """Write the inputs of a case where cases.py says they are."""
    model, _, batch = bundle.case(bundle.manifest(), name)
    for k, port in enumerate(model["inputs"]):
        values = repeated(floats(port["reference"]), model["images"], batch)
        if sys.byteorder == "big":
            values.byteswap()
        with open(bundle.path(name, "input%d.bin" % k), "wb") as file:
            values.tofile(file)


def difference(expected, found):
    """Return the largest difference in units of the largest magnitude; None if none can be told."""
    if len(expected) != len(found):
        return None
    scale = max((abs(v) for v in expected), default=0.0)
    worst = 0.0
    for a, b in zip(expected, found):
        if not math.isfinite(b):
            return None
        worst = max(worst, abs(a - b))
    return worst / scale if scale else worst


def check_outputs(name):
    """Compare a case's outputs with the references; exit 1, with a line, where they differ."""
    everything = bundle.manifest()
    model, precision, batch = bundle.case(everything, name)
    allowed = everything["allowed"][precision]
    made = {o["name"]: o for o in bundle.read_json(bundle.path(name, "output.json"))}
    worst = 0.0
    for port in model["outputs"]:
        if port["name"] not in made:
            raise SystemExit("the engine has no output '%s'" % port["name"])
        expected = repeated(floats(port["reference"]), model["images"], batch)
        found = made[port["name"]]["values"]
        own = difference(expected, found)
        if own is None:
            text = "output '%s': %d values, not %d, or some that are not finite"
            raise SystemExit(text % (port["name"], len(found), len(expected)))
        worst = max(worst, own)
    if not model["outputs"]:  # all stand behind ops that only the device has
        worst = None
    bundle.write_json(bundle.path(name, "check.json"), {"difference": worst, "allowed": allowed})
    if worst is not None and worst > allowed:
        text = "outputs differ from the references by %.3g of their scale; %g is allowed"
        raise SystemExit(text % (worst, allowed))


if __name__ == "__main__":
    {"inputs": write_inputs, "outputs": check_outputs}[sys.argv[1]](sys.argv[2])
