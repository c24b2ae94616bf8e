"""Tests of the kinds of measurement."""
