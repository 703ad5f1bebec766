"""What bundle.json says, and where a case keeps its files. Python 3.6, standard library only."""

import json
import os

WORK = "work"


def manifest():
    """Return bundle.json."""
    with open("bundle.json", encoding="utf-8") as file:
        return json.load(file)


def cases(found):
    """Return every (id, model, precision, batch size), small batches first."""
    listed = []
    for batch in sorted({b for model in found["models"] for b in model["batches"]}):
        for model in found["models"]:
            for precision in model["precisions"]:
                if batch in model["batches"]:
                    name = "%s-%s-b%d" % (model["name"], precision, batch)
                    listed.append((name, model, precision, batch))
    return listed


def case(found, name):
    """Return the (model, precision, batch size) of a case."""
    for own, model, precision, batch in cases(found):
        if own == name:
            return model, precision, batch
    raise SystemExit("there is no case %s in bundle.json" % name)


def path(name, file):
    """Return the path of a case's file."""
    return os.path.join(WORK, name, file)


def read_json(file):
    """Return what a JSON file holds; TensorRT writes nan and inf, which JSON has not."""
    with open(file, encoding="utf-8") as opened:
        text = opened.read()
    try:
        return json.loads(text)
    except ValueError:
        words = text.replace("-nan", "NaN").replace("nan", "NaN").replace("inf", "Infinity")
        return json.loads(words)


def write_json(file, value):
    """Write a file that is either old or new, never half."""
    partial = file + ".part"
    with open(partial, "w", encoding="utf-8") as opened:
        json.dump(value, opened, indent=1)
        opened.write("\n")
    os.replace(partial, file)
