"""What touches the world: devices, transport, graphs, sessions and the command line."""
