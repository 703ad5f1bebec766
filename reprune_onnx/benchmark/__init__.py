"""How fast models are: several of them, run in turns, at several batch sizes, on one backend."""
