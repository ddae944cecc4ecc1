"""Runs in a browser on this machine: their reports, one image tried out, labels judged."""
