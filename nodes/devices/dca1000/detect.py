"""From a frame of samples to points: range, radial velocity and angles.

Chain: Hann window and FFT over the samples; the mean over the chirps is taken off (what stands still); Hann window and
FFT over the loops; the phase that a target gains between the transmitters' turns is taken back; power over all
antennas; cells that stand out from their neighbours in range (cell averaging, CFAR) and are the largest of the cells
around them; for each of them the azimuth from a zero-padded FFT over the row of antennas and the elevation from the
phase between the row and the transmitter above it.

Source: Richards, "Fundamentals of radar signal processing", 2nd ed., chapters 3, 6 and 7; TI application report
SWRA554, "MIMO radar" (turns of transmitters). The threshold is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion.records import Float32, Float64
from nodes.devices.dca1000.samples import Complex64

LIGHT_M_S = 299_792_458.0
MEAN_SNR_LIMIT_DB = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectParams:
    """Radar and detection."""

    range_bin_m: float
    speed_bin_m_s: float
    transmitters: tuple[tuple[int, int], ...]
    """Places (right, up) in half wavelengths, in the order of their turns."""
    receivers: int = 4
    """In a row, half a wavelength apart."""
    threshold_db: float = 12.0
    guard: int = 2
    """Cells to either side that may belong to the target."""
    train: int = 8
    """Cells to either side that tell the noise."""
    nearest_m: float = 0.3
    most_points: int = 128
    still: bool = False
    """Keep what stands still, such as the reflector that checks the order of samples."""
    azimuth_bins: int = 64


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Points of a frame, strongest first."""

    positions_m: Float32
    """[N, 3] radar frame."""
    radial_velocities_m_s: Float32
    """[N], + is receding."""
    snrs_db: Float32
    """[N]."""


def range_doppler(cube: Complex64, still: bool = False) -> NDArray[np.complex64]:
    """Spectra [range, doppler, transmitter, receiver] of samples [loop, transmitter, receiver, sample].

    Doppler bin ``loops // 2`` is zero; what stands still is taken off unless it is wanted.
    """
    loops, samples = cube.shape[0], cube.shape[3]
    ranged = np.fft.fft(cube * np.hanning(samples + 1)[:-1], axis=3)
    moving = ranged if still else ranged - ranged.mean(axis=0)
    window = np.hanning(loops + 1)[:-1, None, None, None]
    spectra = np.fft.fftshift(np.fft.fft(moving * window, axis=0), axes=0)
    return spectra.transpose(3, 0, 1, 2).astype(np.complex64)


def detect(cube: Complex64, params: DetectParams) -> Detections:
    """The points of one frame; samples [loop, transmitter, receiver, sample]."""
    spectra = range_doppler(cube, params.still)
    power = (np.abs(spectra) ** 2).sum(axis=(2, 3)).astype(np.float64)
    snr = power / np.maximum(noise_of(power, params), 1e-12)
    cells = _peaks(power, snr, params)
    loops = cube.shape[0]
    ranges = (cells[:, 0] + _between(power, cells, 0)) * params.range_bin_m
    shifts = cells[:, 1] - loops // 2 + _between(power, cells, 1)
    antennas = _in_turn(spectra[cells[:, 0], cells[:, 1]], shifts, loops)
    across, up = _sines(antennas, params)
    level = np.sqrt(np.maximum(0.0, 1.0 - across**2 - up**2))
    inside = across**2 + up**2 < 1.0
    places = ranges[:, None] * np.stack([across, level, up], axis=1)
    decibels = np.minimum(10.0 * np.log10(snr[cells[:, 0], cells[:, 1]]), MEAN_SNR_LIMIT_DB)
    return Detections(
        places[inside].astype(np.float32),
        (shifts * params.speed_bin_m_s)[inside].astype(np.float32),
        decibels[inside].astype(np.float32),
    )


def noise_of(power: Float64, params: DetectParams) -> Float64:
    """Mean of the cells around each cell [range, doppler] in range, guard cells left out; fewer at the ends."""
    reach = params.guard + params.train
    kernel = np.ones(2 * reach + 1)
    kernel[params.train : params.train + 2 * params.guard + 1] = 0.0
    count = np.convolve(np.ones(len(power)), kernel, "same")
    total = np.apply_along_axis(lambda column: np.convolve(column, kernel, "same"), 0, power)
    return np.asarray(total / np.maximum(count, 1.0)[:, None])


def _peaks(power: Float64, snr: Float64, params: DetectParams) -> NDArray[np.int64]:
    """[N, 2] cells that stand out and are not smaller than their eight neighbours (Doppler wraps), strongest first."""
    padded = np.pad(np.pad(power, ((1, 1), (0, 0)), constant_values=0.0), ((0, 0), (1, 1)), mode="wrap")
    rows, columns = power.shape
    around = [padded[1 + a : 1 + a + rows, 1 + b : 1 + b + columns] for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    largest = (power >= np.maximum.reduce(around)) & (snr > 10.0 ** (params.threshold_db / 10.0))
    largest[: max(1, int(np.ceil(params.nearest_m / params.range_bin_m)))] = False
    cells = np.argwhere(largest)
    order = np.argsort(-power[cells[:, 0], cells[:, 1]], kind="stable")
    return cells[order][: params.most_points]


def _between(power: Float64, cells: NDArray[np.int64], axis: int) -> Float64:
    """Where a peak lies between bins, -0.5..0.5: the vertex of a parabola through three logarithms."""
    count = power.shape[axis]
    step = np.array([1, 0]) if axis == 0 else np.array([0, 1])

    def at(move: int) -> Float64:
        place = cells + move * step
        place[:, axis] = place[:, axis] % count if axis else np.clip(place[:, axis], 0, count - 1)
        return np.asarray(np.log(np.maximum(power[place[:, 0], place[:, 1]], 1e-30)))

    low, here, high = at(-1), at(0), at(1)
    bend = low - 2.0 * here + high
    vertex = np.divide(0.5 * (low - high), bend, out=np.zeros_like(bend), where=np.abs(bend) > 1e-9)
    return np.clip(vertex, -0.5, 0.5)


def _in_turn(antennas: NDArray[np.complex64], shifts: Float64, loops: int) -> NDArray[np.complex128]:
    """[N, transmitter, receiver] without the phase gained from one transmitter's turn to the next."""
    turns = antennas.shape[1]
    gained = 2.0 * np.pi * shifts[:, None] / loops * np.arange(turns) / turns
    return np.asarray(antennas * np.exp(-1j * gained)[:, :, None], dtype=np.complex128)


def _sines(antennas: NDArray[np.complex128], params: DetectParams) -> tuple[Float64, Float64]:
    """Sine of the way right and up [N] of each target: x / r and z / r."""
    row = [turn for turn, (_, up) in enumerate(params.transmitters) if up == 0]
    above = [turn for turn, (_, up) in enumerate(params.transmitters) if up != 0]
    places = [params.transmitters[turn][0] + receiver for turn in row for receiver in range(params.receivers)]
    laid = np.zeros((len(antennas), params.azimuth_bins), dtype=complex)
    laid[:, places] = antennas[:, row].reshape(len(antennas), len(places))
    spectra = np.fft.fftshift(np.fft.fft(laid, axis=1), axes=1)
    power = np.abs(spectra) ** 2
    best = np.stack([np.arange(len(antennas)), power.argmax(axis=1)], axis=1)
    across = 2.0 * (best[:, 1] + _between(power, best, 1) - params.azimuth_bins // 2) / params.azimuth_bins
    if not above:
        return across, np.zeros(len(antennas))
    rows = _steered(antennas, row, across, params)
    uppers = _steered(antennas, above, across, params)
    height = params.transmitters[above[0]][1]
    return across, np.angle(uppers * rows.conj()) / (np.pi * height)


def _steered(
    antennas: NDArray[np.complex128], turns: list[int], across: Float64, params: DetectParams
) -> NDArray[np.complex128]:
    """Sum [N] over the antennas of some transmitters towards the azimuth that was found."""
    places = np.array(
        [[params.transmitters[turn][0] + receiver for receiver in range(params.receivers)] for turn in turns]
    )
    steer = np.exp(-1j * np.pi * across[:, None, None] * places)
    return np.asarray((antennas[:, turns] * steer).sum(axis=(1, 2)))
