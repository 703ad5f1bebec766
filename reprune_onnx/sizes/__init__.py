"""Sizes that fit what stands inside a model, where those that are assumed for its inputs do not."""
