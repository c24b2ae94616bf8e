"""Graph files, the launcher, the supervisor and the session clock."""
