"""The viewer: view models without Qt, and the pyqtgraph widgets."""
