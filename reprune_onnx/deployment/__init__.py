"""From a pruned file to a device: files that the device can read, engines, and bundles.

`convert` makes a file that suits a target: no newer than its parser, its unknown ops written out in
older ones, in the precision that was asked for, and shown to compute the same. `bundle` packs such
files with what builds and measures them on a device that cannot run this tool; `build` makes a
TensorRT engine where TensorRT is installed. What is shipped with them lies in `deploy/`.
"""
