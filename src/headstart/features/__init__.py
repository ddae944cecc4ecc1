"""Trunk → features: engines that run it, and the content-addressed store that keeps each row it ever computed."""
