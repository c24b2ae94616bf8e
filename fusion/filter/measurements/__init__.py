"""One file a kind of measurement: its value, Jacobian and covariance as rows of a system.

``fusion.filter.update`` gates and weighs the rows and solves for the state.
"""
