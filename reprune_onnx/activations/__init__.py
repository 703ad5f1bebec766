"""The inputs and outputs of layers on calibration images, with bounded memory.

A network is run in stretches, from one layer to the next, over more images the deeper it gets
(`frontier`, `sampling`). What later layers read is held in memory or, beyond a share of what is
free (`memory`), in a nameless file (`store`). A layer is looked at as the linear map it is
(`linear`), together with what its output becomes before anything non-linear happens to it
(`joint`). Only the moments of a layer's activations are kept (`moments`), as matrices or by the
samples (`gram`).

Every batch is run by one thread and all sums have a fixed order, so results do not depend on the
number of threads.
"""
