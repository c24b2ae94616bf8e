"""Device clocks mapped to the session clock, and records put in the order of their times."""
