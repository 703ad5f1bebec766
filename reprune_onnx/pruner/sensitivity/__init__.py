"""The share of each layer's output that is lost with its input channels, measured on images.

`readers` gathers the second moments of what the layers read; `elimination` removes a group's
channels one by one and tells the cost of each. `pruner.allocate` spends a number of multiply-adds
where the loss is least.
"""
