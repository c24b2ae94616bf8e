"""Tests of what radars say."""
