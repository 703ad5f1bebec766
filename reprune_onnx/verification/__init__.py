"""The proof of a cut, with no data needed.

The *masked original* is the original model whose consumers' input slices are zeroed at the dropped
channels. It has the original's shapes and shares nothing with the cut but the list of what went;
the pruned model must compute what it computes. Both run in ONNX Runtime with graph optimisation
off, on several random inputs, and on two sizes where sizes are symbolic.

A comparison is worth something only if it can fail. So the pruned model is also cut wrongly on
purpose, with other rows of one consumer's weight, and the difference that this makes must be at
least ten times what is allowed: the *negative control*.
"""
