"""Movements that tests make themselves: no data pack is needed to check the data path."""

from __future__ import annotations

import numpy as np

from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M
from training.imu.movements import Movement

RATE_HZ = 60.0


def waving(name: str, seconds: float, *, group: str = "walk", pace: float = 1.0) -> Movement:
    """Somebody who drifts ahead, swings both legs and waves the left arm."""
    t = np.arange(0.0, seconds, 1.0 / RATE_HZ)
    samples = np.repeat(resting_coordinates()[None], len(t), axis=0)
    swing = np.sin(2.0 * np.pi * 0.9 * pace * t)
    samples[:, COORDINATE["root_px"]] = 0.8 * pace * t
    samples[:, COORDINATE["root_pz"]] = 0.98
    samples[:, COORDINATE["root_rz"]] = 0.3 * np.sin(0.5 * t)
    samples[:, COORDINATE["left_hip_y"]] += 0.5 * swing
    samples[:, COORDINATE["right_hip_y"]] -= 0.5 * swing
    samples[:, COORDINATE["left_knee_flexion"]] += 0.4 * (1.0 + swing)
    samples[:, COORDINATE["left_arm_x"]] += 0.8 * np.sin(3.0 * pace * t)
    samples[:, COORDINATE["left_elbow_flexion"]] += 0.5 * (1.0 + np.cos(2.0 * t))
    return Movement(name, group, samples.astype(np.float32), RATE_HZ, REFERENCE_LENGTHS_M)
