"""Training of the part-based inertial network: movements, synthetic sensors, the torch module, the loop, the file."""
