"""Inertial sensors: their bytes, their ports, and virtual ones."""
