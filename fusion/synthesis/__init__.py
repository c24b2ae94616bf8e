"""Sensors made from motion: the wearer, cameras, IMUs and radars of the simulator."""
