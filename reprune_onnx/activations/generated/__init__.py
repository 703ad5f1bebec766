"""Generated images for a model: in the range that it takes, and of a kind that it knows."""
