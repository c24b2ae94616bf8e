"""Training of the network that tells joints from the points of a radar: recordings, the torch module, loop, file."""
