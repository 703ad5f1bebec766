"""PyTorch: the bridge, fine-tuning, and pruning while training. Imported by nothing else."""
