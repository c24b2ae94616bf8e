"""Tests of what cameras tell."""
