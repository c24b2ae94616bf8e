"""What is learnt from recorded motion: statistics and tables, each with the command that made it."""
