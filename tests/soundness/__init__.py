"""`make soundness`: the corpus on both suites and many seeds, and what that shows."""
