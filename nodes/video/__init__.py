"""Pictures from outside: files, folders, devices and network streams."""
