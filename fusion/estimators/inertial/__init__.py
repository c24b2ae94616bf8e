"""From inertial samples to what the filter can use."""
