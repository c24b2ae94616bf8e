"""Pyqtgraph widgets that draw the view models."""
