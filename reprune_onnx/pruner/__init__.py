"""How many channels each group keeps (``allocate``) and which ones they are (``select``).

Nothing here knows about ONNX: numbers and weight arrays go in, counts and channel indices come out.
"""
