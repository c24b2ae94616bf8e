"""The order of samples on two LVDS lanes.

Two samples at a time, each lane one of them: I0 I1 Q0 Q1 as i16; with the sample swap of ``adcbufCfg`` Q comes first.
Within a frame: loops, transmitters in turn, receivers one after the other, samples. A wrong order mirrors or folds the
range axis.

Source: TI application report SWRA581B, "Mmwave Radar Device ADC Raw Data Capture", xWR16xx and later, complex.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex64 = NDArray[np.complex64]
Shape = tuple[int, int, int, int]
"""Loops, transmitters, receivers, samples; the last one is even."""

BYTES_PER_SAMPLE = 4


def frame_bytes(shape: Shape) -> int:
    """Of one frame."""
    loops, transmitters, receivers, samples = shape
    return loops * transmitters * receivers * samples * BYTES_PER_SAMPLE


def cube_of(data: bytes, shape: Shape, *, swapped: bool) -> Complex64:
    """Complex samples [loop, transmitter, receiver, sample] of a frame's bytes.

    Args:
        data: ``frame_bytes(shape)`` of them.
        shape: of the result.
        swapped: Q comes first.
    """
    pairs = np.frombuffer(data, "<i2").reshape(*shape[:-1], shape[-1] // 2, 2, 2).astype(np.float32)
    first, second = pairs[..., 0, :], pairs[..., 1, :]
    real, imaginary = (second, first) if swapped else (first, second)
    return np.asarray((real + 1j * imaginary).reshape(shape), dtype=np.complex64)


def bytes_of(cube: NDArray[np.complexfloating], *, swapped: bool) -> bytes:
    """The bytes of a frame of samples, rounded and cut to 16 bits: the other way round."""
    pairs = cube.reshape(*cube.shape[:-1], cube.shape[-1] // 2, 2)
    parts = (pairs.imag, pairs.real) if swapped else (pairs.real, pairs.imag)
    words = np.stack(parts, axis=-2)
    return np.clip(np.rint(words), -32768, 32767).astype("<i2").tobytes()
