"""The latency of a model: measured as a whole, and layer by layer for an estimate."""
