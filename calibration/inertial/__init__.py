"""How body-worn inertial sensors sit, from poses that a wearer holds and a few steps: ``docs/calibration.md``."""
