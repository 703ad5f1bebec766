"""How long a model takes: measured as a whole, and layer by layer for an estimate."""
