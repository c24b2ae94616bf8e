"""The skeleton: segments, joints, coordinates, lengths, landmarks on it, and its kinematics."""
