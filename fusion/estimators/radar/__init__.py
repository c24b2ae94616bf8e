"""From radar points to what the filter can use."""
