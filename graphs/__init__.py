"""Graphs that come with Kinefuse: the simulated lab and templates to copy."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""Where the graph files and their profiles are."""
