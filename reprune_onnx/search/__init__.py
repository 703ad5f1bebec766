"""Targets that only attempts can reach: a latency, or a drop of accuracy."""
