"""Fitting a classifier on features: the convex fit, the choice of its penalty, the baselines and the novelty score."""
