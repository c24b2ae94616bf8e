"""Session files (MCAP): writing, reading, repair, import."""
