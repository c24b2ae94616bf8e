"""Texas Instruments mmWave radars: bytes of the data port, text of the command port, and their figures."""
