"""Trained networks: what there is, where it comes from, and running it."""
