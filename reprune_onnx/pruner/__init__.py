"""The number of channels that each group keeps (``allocate``), and which ones (``select``).

In `allocate` and `select` numbers and weight arrays go in, counts and channel indices come out:
nothing there knows of ONNX. `allocation` and `selection` take both from a channel map and its
settings; `calibrate` and `sensitivity` run the model on images.
"""
