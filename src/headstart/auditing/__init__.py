"""What is wrong with the data, row by row, and what the data are."""
