"""The profile of a lab (cameras, IMUs, radars, subject) and the solvers that fill it."""
