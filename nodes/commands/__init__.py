"""One module a command of ``kinefuse``."""
