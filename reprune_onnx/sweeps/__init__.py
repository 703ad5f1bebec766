"""Many prunings of one model side by side: a table, a plot, and the models."""
