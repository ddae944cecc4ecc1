"""A trained model as a file for other programs, written only where it answers as the trained one does."""
