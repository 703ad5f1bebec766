"""What a type checker has to refuse, a line each; the comment is the code of its error."""

import reprune_onnx as rp

rp.prnue("model.onnx", rp.Settings(sparsity=0.5))  # attr-defined
rp.Settings(sparzity=0.5)  # call-arg
rp.Settings(sparsity="0.5")  # arg-type
rp.Settings(sparsity=0.5, include=3)  # arg-type
rp.Settings(sparsity=0.5, method="best")  # arg-type
rp.prune(3, rp.Settings(sparsity=0.5))  # arg-type
rp.prune("model.onnx", rp.Settings(sparsity=0.5)).report["achievd"]  # typeddict-item
rp.prune("model.onnx", rp.Settings(sparsity=0.5)).write()  # attr-defined
