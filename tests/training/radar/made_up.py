"""Recordings in the layout of the data pack's ``mars/`` that nobody made: bodies that sway, points on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MOVEMENTS = (1, 2)
FRAMES = 50
BODY_M = np.stack([np.linspace(-0.3, 0.3, 19), np.full(19, 1.95), np.linspace(-0.9, 0.6, 19)], axis=1)
BODY_M[[3, 18], 2] = BODY_M[[18, 3], 2]  # the head is on top
BODY_M[[0, 1, 3, 18], 0] = 0.0  # and the spine in the middle


def write_recordings(data: Path, frames: int = FRAMES) -> None:
    """Four subjects, two movements; subject 1's train frames have no joints, as in the data pack."""
    (data / "mars").mkdir(parents=True)
    for subject in (1, 2, 3, 4):
        np.savez(data / "mars" / f"subject{subject}.npz", **recording(subject, frames))  # type: ignore[arg-type]


def recording(subject: int, frames: int = FRAMES) -> dict[str, np.ndarray]:
    """Arrays of one subject."""
    random = np.random.default_rng(subject)
    count = frames * len(MOVEMENTS)
    phase = np.tile(np.arange(frames) * 0.3, len(MOVEMENTS))
    movement = np.repeat(MOVEMENTS, frames).astype(np.uint8)
    sway = 0.3 * np.sin(phase) * np.where(movement == 1, 1.0, -0.5)
    labels = np.tile(BODY_M, (count, 1, 1))
    labels[..., 0] += sway[:, None] + 0.17
    counts = random.integers(5, 65, count)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    points = np.zeros((offsets[-1], 5), dtype=np.float32)
    owner = np.repeat(np.arange(count), counts)
    points[:, :3] = BODY_M[random.integers(0, 19, len(owner))] + random.normal(0.0, 0.05, (len(owner), 3))
    points[:, 0] += sway[owner]
    points[:, 3] = random.normal(0.0, 0.4, len(owner))
    points[:, 4] = 20.0
    train, validate = int(np.ceil(0.6 * frames)), int(np.ceil(0.2 * frames))
    split = np.tile(np.repeat([0, 1, 2], [train, validate, frames - train - validate]), len(MOVEMENTS)).astype(np.uint8)
    if subject == 1:
        labels[split == 0] = np.nan
    index = np.concatenate([np.arange(frames) + 1000 * movement for movement in MOVEMENTS])
    return {
        "points": points, "point_offset": offsets.astype(np.int64), "frame_index": index.astype(np.int32),
        "movement": movement, "split": split, "labels": labels.astype(np.float32),
    }  # fmt: skip
