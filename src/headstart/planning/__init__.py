"""What to try, in which order, and what to keep."""
