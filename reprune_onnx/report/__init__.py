"""Reports of a pruning: the file, tables in the terminal, and the HTML page."""
