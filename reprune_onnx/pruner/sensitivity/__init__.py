"""How much of what each layer makes is lost with the channels it reads, measured on images.

`readers` gathers the second moments of what the layers read; `elimination` removes a group's
channels one by one and tells what each costs. `pruner.allocate` spends a number of multiply-adds
where the loss is least.
"""
