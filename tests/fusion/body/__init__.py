"""Tests of the skeleton, its landmarks and its kinematics."""
