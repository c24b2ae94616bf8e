"""Tests of rotations and cameras."""
