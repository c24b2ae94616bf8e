"""Tests of the pure part: records, mathematics, body, estimators and filter."""
