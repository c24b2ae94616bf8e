"""One error-state filter a person, whose update is the skeletal fit."""
