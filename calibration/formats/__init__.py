"""Calibration files of other software, read and written."""
