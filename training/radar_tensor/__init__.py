"""Joints from a radar's 4D tensor after HRRadarPose: files, network, training (``docs/radar_tensor.md``)."""
