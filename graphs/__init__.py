"""Graphs that come with Kinefuse: the simulated lab and templates to copy."""
