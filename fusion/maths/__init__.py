"""Rotations, cameras and small linear algebra, as numba kernels with plain-numpy checks in the tests."""
