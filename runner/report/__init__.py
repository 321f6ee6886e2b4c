"""What is made of a run on disk: a page, tables, and a log in Inspect AI's format."""
