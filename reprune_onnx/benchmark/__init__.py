"""The speed of models: several of them, run in turns, at several batch sizes, on one backend."""
