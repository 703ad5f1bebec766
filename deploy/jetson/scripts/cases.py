"""List the cases for run.sh: id, model, flags to build, shapes, inputs, between tabs."""

import sys

import bundle


def shapes(model, batch):
    """Return the extents of every input at a batch size, as trtexec writes them."""
    found = []
    for port in model["inputs"]:
        extents = [batch if n is None else n for n in port["shape"]]
        found.append("%s:%s" % (port["name"], "x".join(str(n) for n in extents)))
    return ",".join(found)


def line(found, case):
    """Return one case as a line."""
    name, model, precision, batch = case
    build = [found["build_only"], "%s%d" % (found["workspace"], found["workspace_mib"])]
    build.append("--noTF32" if precision == "fp32" else "--" + precision)
    given = ""
    if model["dynamic"]:
        text = shapes(model, batch)
        build += ["--%sShapes=%s" % (which, text) for which in ("min", "opt", "max")]
        given = "--shapes=" + text
    files = [
        "%s:%s" % (port["name"], bundle.path(name, "input%d.bin" % k))
        for k, port in enumerate(model["inputs"])
    ]
    inputs = "--loadInputs=" + ",".join(files)
    # Two tabs in a row would be one to the shell: a flag stands where there are no shapes to give.
    given = given or "--avgRuns=10"
    return "\t".join((name, model["files"][precision], " ".join(build), given, inputs))


def main(arguments):
    """Print the cores to pin, or all cases."""
    found = bundle.manifest()
    if arguments == ["--cores"]:
        print(found["cores"])
        return
    for case in bundle.cases(found):
        print(line(found, case))


if __name__ == "__main__":
    main(sys.argv[1:])
