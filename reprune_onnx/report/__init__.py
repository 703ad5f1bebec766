"""What was asked, what was reached: the report file, terminal tables, the HTML page."""
