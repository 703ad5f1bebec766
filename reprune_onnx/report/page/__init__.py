"""One self-contained HTML page from the result files of the other commands."""
