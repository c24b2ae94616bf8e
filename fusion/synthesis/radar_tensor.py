"""Virtual 4D radar: what an FMCW MIMO radar and its FFTs make of moving bodies, on a Cartesian lattice.

A body is many small scatterers on the side of its limbs that faces the radar, each with a random phase, so that
speckle comes by itself. The answer of the chain to one scatterer is known in closed form: the window's Fourier
transform in range, that of the chirps in Doppler, and one phase an antenna, which includes the time at which its
transmitter had its turn. Their sum goes through the FFTs over the virtual array; complex values are interpolated to
the lattice; magnitudes of neighbouring Doppler channels are averaged; the logarithm is kept.
``fusion/synthesis/radar_adc.py`` says the same sample by sample, and a test holds both together.

Source: Richards, "Fundamentals of radar signal processing", 2nd ed., chapters 3 and 4 (FMCW, range and Doppler
processing, radar equation); Li and Stoica, "MIMO radar with colocated antennas", IEEE SPM 24(5), 2007. Chirp, array
and chain are those of the RT-Pose recordings (TI four-chip cascade, 12 transmitters, 16 receivers) as their public
processing has them: no correction of the transmitters' turns, no window in Doppler and angle, angle bins taken as
evenly spaced angles. Differs from it in: the periodic Hann window; interpolation between the two bins around a place
(theirs takes the pair below); the way from complex values to the training files (mean of channel pairs, logarithm),
which they did not publish, is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from fusion.body.catalog import landmark_positions_batch
from fusion.maths.voxels import VoxelGrid
from fusion.records import Array, Float16, Float64, Int64, RadarTensor
from fusion.rig import RadarMount
from fusion.synthesis.randomness import RandomStream
from fusion.synthesis.wearer import CAPSULE_RADIUS_M, CAPSULES, Wearer, capsule_ends

Complex64 = NDArray[np.complex64]
Complex128 = NDArray[np.complex128]

SPEED_OF_LIGHT_M_S = 299_792_458.0
LANDMARK_SET = "rt_pose_15"
NANOSECONDS = 1_000_000_000
_STEP_S = 0.01
_NEAREST_M = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChirpParams:
    """Chirp, antennas and FFTs. The defaults are those of the RT-Pose recordings."""

    start_hz: float = 77.0e9
    """At the first sample of a chirp, less ``adc_start_s`` of slope."""
    slope_hz_s: float = 64.985e12
    adc_start_s: float = 5e-6
    samples: int = 256
    """Complex samples a chirp; also the length of the range FFT."""
    sample_hz: float = 5e6
    loops: int = 64
    """Chirps a transmitter and frame; also the length of the Doppler FFT."""
    interval_s: float = 65e-6
    """From one chirp to the next, which another transmitter sends."""
    transmitters: tuple[tuple[int, int], ...] = (
        (0, 0), (4, 0), (8, 0), (12, 0), (16, 0), (20, 0), (24, 0), (28, 0), (32, 0), (9, 1), (10, 4), (11, 6),
    )  # fmt: skip
    """Places (right, up) in array steps, in the order of their turns."""
    receivers: tuple[int, ...] = (0, 1, 2, 3, 11, 12, 13, 14, 46, 47, 48, 49, 50, 51, 52, 53)
    """Places (right) in array steps."""
    array_step_m: float = 0.5 * SPEED_OF_LIGHT_M_S / 76.8e9
    azimuth_bins: int = 128
    elevation_bins: int = 32
    parts: int = 4
    """The frame's loops are taken in so many parts within which nobody moves over range bins: all that the closed
    form leaves out."""

    def __post_init__(self) -> None:
        if self.parts < 1 or self.loops % self.parts:
            raise ValueError(f"parts: {self.parts}, expected a divisor of the {self.loops} loops")

    @property
    def centre_hz(self) -> float:
        """Carrier at the middle of the samples."""
        return self.start_hz + self.slope_hz_s * (self.adc_start_s + 0.5 * self.samples / self.sample_hz)

    @property
    def wavelength_m(self) -> float:
        """At the centre."""
        return SPEED_OF_LIGHT_M_S / self.centre_hz

    @property
    def range_bin_m(self) -> float:
        """Range of one bin of the range FFT, which is also the resolution."""
        return SPEED_OF_LIGHT_M_S * self.sample_hz / (2.0 * self.slope_hz_s * self.samples)

    @property
    def loop_s(self) -> float:
        """From one chirp of a transmitter to its next."""
        return self.interval_s * len(self.transmitters)

    @property
    def speed_bin_m_s(self) -> float:
        """Radial velocity of one bin of the Doppler FFT."""
        return self.wavelength_m / (2.0 * self.loop_s * self.loops)


SMALL_CHIRP = ChirpParams(
    slope_hz_s=16.0e12,
    samples=64,
    sample_hz=1.25e6,
    loops=16,
    interval_s=110e-6,
    transmitters=((0, 0), (4, 0), (8, 0), (12, 0), (4, 1), (8, 4), (4, 6)),
    receivers=(0, 1, 2, 3),
    azimuth_bins=32,
    elevation_bins=16,
    parts=1,
)
"""A radar of a twentieth of the data: 18 cm, 7 degrees, for processors, tests and demonstrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRadarParams:
    """A tensor radar and its room."""

    chirp: ChirpParams = field(default_factory=ChirpParams)
    azimuth_span_rad: float = math.radians(120.0)
    """What all azimuth bins are taken to span, evenly; where a bin looks really is the arcsine of it."""
    elevation_span_rad: float = math.radians(60.0)
    """The same of elevation. Truly a bin off the horizon looks about twice as high."""
    range_span_m: float | None = 11.6
    """What all range bins are taken to span; None for what they do."""
    centred: bool = False
    """Interpolate with phases counted from the middle of the samples and the array, which loses nothing between
    bins; RT-Pose counts from the first ones."""
    channels: int = 32
    """Doppler channels that are kept: each the mean magnitude of as many neighbouring bins."""
    rate_hz: float = 10.0
    noise: float = 1.0
    """Root mean square magnitude of noise of a voxel; what is stored is log(1 + magnitude)."""
    gain: float = 1500.0
    """Root mean square magnitude of a square metre of body, 1 m away, in one bin of everything."""
    density_m2: float = 180.0
    """Scatterers a square metre of silhouette."""
    clutter: int = 12
    """Still reflectors in the room."""
    clutter_m2: float = 0.3
    """Their mean reflecting area."""

    def __post_init__(self) -> None:
        if self.channels < 1 or self.chirp.loops % self.channels:
            raise ValueError(f"channels: {self.channels}, expected a divisor of the {self.chirp.loops} Doppler bins")


@dataclass(frozen=True, slots=True, eq=False)
class Scatterers:
    """Points that reflect, as one radar sees them."""

    positions_m: Float64
    """[S, 3] radar frame, in the middle of the frame's chirps."""
    radial_velocities_m_s: Float64
    """[S], + is receding."""
    amplitudes: Complex128
    """[S] magnitude and phase of the echo at one antenna in one sample."""


@dataclass(frozen=True, slots=True, eq=False)
class VirtualArray:
    """The distinct places of all transmitters with all receivers; of doubled ones the first turn counts."""

    across: Int64
    """[M] in array steps."""
    row: Int64
    """[M] index into ``rows``."""
    turn: Int64
    """[M] turn of its transmitter."""
    receiver: Int64
    """[M] index of its receiver."""
    rows: Int64
    """[Q] heights in array steps that any antenna has."""

    @classmethod
    def of(cls, chirp: ChirpParams) -> VirtualArray:
        """The array of a chirp configuration."""
        found: dict[tuple[int, int], tuple[int, int]] = {}
        for turn, (across, up) in enumerate(chirp.transmitters):
            for index, receiver in enumerate(chirp.receivers):
                found.setdefault((across + receiver, up), (turn, index))
        rows = np.unique([up for _, up in found])
        return cls(
            across=np.array([across for across, _ in found]),
            row=np.searchsorted(rows, [up for _, up in found]),
            turn=np.array([turn for turn, _ in found.values()]),
            receiver=np.array([index for _, index in found.values()]),
            rows=rows,
        )


def dirichlet(offset: Float64, count: int) -> Complex128:
    """Sum over n < count of exp(-2 pi i n offset / count): what an FFT bin that far away answers to a tone."""
    turns = offset / count
    ratio = np.full(np.shape(offset), float(count))
    away = np.abs(turns - np.round(turns)) > 1e-12
    np.divide(np.sin(np.pi * offset), np.sin(np.pi * turns), out=ratio, where=away)
    # At a whole number of turns the ratio is count times the sign that the phase below undoes.
    sign = np.where(away, 1.0, np.cos(np.pi * np.round(turns) * (count - 1)))
    return np.asarray(ratio * sign * np.exp(-1j * np.pi * turns * (count - 1)))


def hann(offset: Float64, count: int) -> Complex128:
    """The same with the periodic Hann window over the samples."""
    return (
        0.5 * dirichlet(offset, count)
        - 0.25 * dirichlet(offset - 1.0, count)
        - 0.25 * dirichlet(offset + 1.0, count)
    )  # fmt: skip


def range_places(scatterers: Scatterers, chirp: ChirpParams) -> Float64:
    """Where each scatterer peaks in the range FFT [S], in bins; its Doppler moves it a little."""
    distance = np.linalg.norm(scatterers.positions_m, axis=1)
    drift = scatterers.radial_velocities_m_s * chirp.centre_hz / chirp.slope_hz_s
    return np.asarray((distance + drift) / chirp.range_bin_m)


def range_responses(scatterers: Scatterers, chirp: ChirpParams, moved_m: Float64) -> Complex128:
    """Answer of every range bin to each scatterer [S, R], with the phase of its distance.

    Args:
        scatterers: what reflects.
        chirp: the radar.
        moved_m: [S] how much farther each is than in the middle of the frame; only bins see it, not the phase, which
            ``doppler_responses`` has.
    """
    distance = np.linalg.norm(scatterers.positions_m, axis=1)
    offset = np.arange(chirp.samples) - (range_places(scatterers, chirp) + moved_m / chirp.range_bin_m)[:, None]
    carrier = np.exp(4j * np.pi * _first_hz(chirp) * distance / SPEED_OF_LIGHT_M_S)
    # The carrier of the Doppler phase is that of the middle sample; the bins' own phase counts from the first one.
    counted_twice = np.exp(-4j * np.pi * (chirp.centre_hz - _first_hz(chirp)) * moved_m / SPEED_OF_LIGHT_M_S)
    return np.asarray(hann(offset, chirp.samples) * (carrier * counted_twice * scatterers.amplitudes)[:, None])


def _first_hz(chirp: ChirpParams) -> float:
    """Carrier at the first sample."""
    return chirp.start_hz + chirp.slope_hz_s * chirp.adc_start_s


def doppler_responses(scatterers: Scatterers, chirp: ChirpParams, part: int) -> Complex128:
    """What one part of the loops adds to every Doppler bin, of each scatterer [S, D]; the middle bin is still."""
    loops, count = chirp.loops, chirp.loops // chirp.parts
    place = scatterers.radial_velocities_m_s / chirp.speed_bin_m_s
    offset = np.arange(loops) - loops // 2 - place[:, None]
    answer = dirichlet(offset * count / loops, count) * np.exp(-2j * np.pi * offset * part * count / loops)
    # Positions are those in the middle of the frame, phases count from its first chirp.
    begun = np.exp(-1j * np.pi * place * (loops - 1.0 / len(chirp.transmitters)) / loops)
    return np.asarray(answer * begun[:, None])


def moved_until(scatterers: Scatterers, chirp: ChirpParams, part: int) -> Float64:
    """How much farther each scatterer [S] is in the middle of a part than in the middle of the frame."""
    middle = (part + 0.5) / chirp.parts - 0.5
    return scatterers.radial_velocities_m_s * middle * chirp.loops * chirp.loop_s


def antenna_phases(scatterers: Scatterers, chirp: ChirpParams, array: VirtualArray) -> Complex128:
    """Phase at every antenna of each scatterer [S, M]: its direction, and how far it moved until the antenna's turn."""
    sight = scatterers.positions_m / np.linalg.norm(scatterers.positions_m, axis=1, keepdims=True)
    spacing = chirp.array_step_m / chirp.wavelength_m
    path = spacing * (np.outer(sight[:, 0], array.across) + np.outer(sight[:, 2], array.rows[array.row]))
    moved = 2.0 * np.outer(scatterers.radial_velocities_m_s, array.turn) * chirp.interval_s / chirp.wavelength_m
    return np.asarray(np.exp(2j * np.pi * (path + moved)))


def antenna_spectra(scatterers: Scatterers, chirp: ChirpParams, array: VirtualArray) -> Complex64:
    """Range-Doppler spectrum of every antenna [R, D, M]."""
    antennas = antenna_phases(scatterers, chirp, array).astype(np.complex64)
    total = np.zeros((chirp.samples, chirp.loops * len(array.across)), dtype=np.complex64)
    for part in range(chirp.parts):
        ranges = range_responses(scatterers, chirp, moved_until(scatterers, chirp, part)).astype(np.complex64)
        doppler = doppler_responses(scatterers, chirp, part).astype(np.complex64)
        total += ranges.T @ (doppler[:, :, None] * antennas[:, None, :]).reshape(len(ranges), -1)
    return total.reshape(chirp.samples, chirp.loops, len(array.across))


def azimuth_spectra(spectra: Complex64, chirp: ChirpParams, array: VirtualArray) -> Complex64:
    """FFT along each row of the array [R, Q, A, D]; places without an antenna hold 0. The middle bin is straight on."""
    ranges, loops, _ = spectra.shape
    laid = np.zeros((ranges, len(array.rows), chirp.azimuth_bins, loops), dtype=np.complex64)
    laid[:, array.row, array.across] = spectra.transpose(0, 2, 1)
    spectrum = fft.fftshift(fft.fft(laid, axis=2, overwrite_x=True), axes=2)
    return np.asarray(spectrum, dtype=np.complex64)


def elevation_weights(chirp: ChirpParams, array: VirtualArray) -> Complex128:
    """How the rows add up to each elevation bin [E, Q]: an FFT over rows, most of which are empty."""
    bins = np.arange(chirp.elevation_bins) - chirp.elevation_bins // 2
    return np.asarray(np.exp(-2j * np.pi * np.outer(bins, array.rows) / chirp.elevation_bins))


def cartesian_operator(params: TensorRadarParams, grid: VoxelGrid, array: VirtualArray) -> sparse.csr_matrix:
    """Matrix [voxels, R Q A] from azimuth spectra to complex voxels: elevation FFT and trilinear interpolation.

    Voxels that no bins surround are 0.
    """
    chirp = params.chirp
    up, across, forward = chirp.elevation_bins, chirp.azimuth_bins, chirp.samples
    places = _polar_bins(params, grid)
    inside = ((places >= 0.0) & (places <= np.array([forward, across, up]) - 1.0)).all(axis=1)
    voxels = np.flatnonzero(inside)
    low = np.minimum(np.floor(places[voxels]).astype(np.int64), np.array([forward, across, up]) - 2)
    share = places[voxels] - low
    twiddle_range, twiddle_azimuth, rows = _twiddles(params, array)
    lifted = (1.0 - share[:, 2:]) * rows[low[:, 2]] + share[:, 2:] * rows[low[:, 2] + 1]
    values, columns = [], []
    for r in (0, 1):
        for a in (0, 1):
            weight = np.where(r, share[:, 0], 1.0 - share[:, 0]) * np.where(a, share[:, 1], 1.0 - share[:, 1])
            weight = weight * twiddle_range[low[:, 0] + r] * twiddle_azimuth[low[:, 1] + a]
            first = (low[:, 0] + r) * len(array.rows)
            values.append(weight[:, None] * lifted)
            columns.append((first[:, None] + np.arange(len(array.rows))) * across + low[:, 1:2] + a)
    data, index = np.concatenate(values, axis=1), np.concatenate(columns, axis=1)
    owner = np.repeat(voxels, index.shape[1])
    shape = (len(places), forward * len(array.rows) * across)
    return sparse.csr_matrix((data.ravel().astype(np.complex64), (owner, index.ravel())), shape=shape)


def _polar_bins(params: TensorRadarParams, grid: VoxelGrid) -> Float64:
    """Range, azimuth and elevation of every voxel [V, 3] in bins, as the recordings' processing takes them."""
    chirp = params.chirp
    x, y, z = grid.centres_m().reshape(-1, 3).T
    span = params.range_span_m if params.range_span_m is not None else chirp.range_bin_m * chirp.samples
    azimuth = np.arctan2(x, y) / params.azimuth_span_rad * chirp.azimuth_bins + chirp.azimuth_bins // 2
    elevation = np.arctan2(z, np.hypot(x, y)) / params.elevation_span_rad * chirp.elevation_bins
    distance = np.sqrt(x * x + y * y + z * z) / span * chirp.samples
    return np.stack([distance, azimuth, elevation + chirp.elevation_bins // 2], axis=1)


def _twiddles(params: TensorRadarParams, array: VirtualArray) -> tuple[Complex128, Complex128, Complex128]:
    """Phases [R], [A] and weights of rows [E, Q] that say from where phases count."""
    chirp = params.chirp
    rows = elevation_weights(chirp, array)
    ranges, azimuths = np.ones(chirp.samples, dtype=complex), np.ones(chirp.azimuth_bins, dtype=complex)
    if params.centred:
        ranges = np.exp(1j * np.pi * np.arange(chirp.samples))
        middle = 0.5 * (array.across.min() + array.across.max())
        bins = np.arange(chirp.azimuth_bins) - chirp.azimuth_bins // 2
        azimuths = np.exp(2j * np.pi * bins * middle / chirp.azimuth_bins)
        steps = np.arange(chirp.elevation_bins) - chirp.elevation_bins // 2
        rows = rows * np.exp(2j * np.pi * steps * 0.5 * array.rows.max() / chirp.elevation_bins)[:, None]
    return ranges, azimuths, rows


def noise_spectra(random: np.random.Generator, chirp: ChirpParams, antennas: int) -> Complex64:
    """Range-Doppler spectra [R, D, M] of white noise of variance 1 a sample, behind the Hann window.

    The window's three taps in the frequency domain give neighbouring range bins their correlation.
    """
    size = (chirp.samples, chirp.loops, antennas)
    white = np.empty(size, dtype=np.complex64)
    white.real = random.standard_normal(size, dtype=np.float32)
    white.imag = random.standard_normal(size, dtype=np.float32)
    white *= np.float32(math.sqrt(0.5 * chirp.samples * chirp.loops))
    return (0.5 * white - 0.25 * (np.roll(white, 1, axis=0) + np.roll(white, -1, axis=0))).astype(np.complex64)


class TensorMaker:
    """From scatterers to the tensor of one frame.

    Args:
        params: the radar.
        grid: voxels that are made.
    """

    def __init__(self, params: TensorRadarParams, grid: VoxelGrid) -> None:
        self.params = params
        self.grid = grid
        self.array = VirtualArray.of(params.chirp)
        self._operator = cartesian_operator(params, grid, self.array)

    @property
    def noise_magnitude(self) -> float:
        """Root mean square of a voxel of noise of variance 1 a sample: an incoherent sum."""
        chirp = self.params.chirp
        return math.sqrt(0.375 * chirp.samples * chirp.loops * len(self.array.across))

    @property
    def peak_magnitude(self) -> float:
        """Magnitude of one still scatterer of amplitude 1 in its bin: coherent sum."""
        chirp = self.params.chirp
        return 0.5 * chirp.samples * chirp.loops * len(self.array.across)

    def complex_voxels(self, spectra: Complex64) -> Complex64:
        """Voxels [up, across, forward, D] from antenna spectra [R, D, M]."""
        azimuths = azimuth_spectra(spectra, self.params.chirp, self.array)
        voxels = self._operator @ azimuths.reshape(-1, self.params.chirp.loops)
        return np.asarray(voxels).reshape(*self.grid.shape, -1)

    def power(self, scatterers: Scatterers, random: np.random.Generator) -> Float16:
        """What is stored of a frame [channels, up, across, forward]: log(1 + mean magnitude)."""
        params, chirp = self.params, self.params.chirp
        spectra = antenna_spectra(scatterers, chirp, self.array)
        noise = noise_spectra(random, chirp, len(self.array.across))
        # Amplitudes are in units of a peak, noise in units of a voxel.
        spectra *= np.float32(1.0 / self.peak_magnitude)
        spectra += noise * np.float32(params.noise / self.noise_magnitude)
        magnitude = np.abs(self.complex_voxels(spectra))
        shape = (*self.grid.shape, params.channels, chirp.loops // params.channels)
        stored = np.log1p(magnitude.reshape(shape).mean(-1))
        return np.ascontiguousarray(np.moveaxis(stored, -1, 0), dtype=np.float16)

    @property
    def radial_velocities_m_s(self) -> Float64:
        """Middle of each Doppler channel [channels]."""
        chirp = self.params.chirp
        bins = np.arange(chirp.loops) - chirp.loops // 2
        return np.asarray(chirp.speed_bin_m_s * bins.reshape(self.params.channels, -1).mean(1))


class VirtualTensorRadar:
    """The tensors of one radar, frame by frame.

    Args:
        mount: where it is; its name enters records and random numbers.
        maker: its FFTs.
        wearers: who is there.
        seed: of room and noise.
    """

    def __init__(self, mount: RadarMount, maker: TensorMaker, wearers: Sequence[Wearer], seed: int) -> None:
        self.mount = mount
        self.maker = maker
        self._wearers = tuple(wearers)
        self._random = RandomStream(seed, f"{mount.name}/tensor")
        self._clutter = self._room(RandomStream(seed, f"{mount.name}/clutter").at(0))

    def tensor(self, index: int, origin_ns: int = 0) -> RadarTensor:
        """One frame."""
        params, grid = self.maker.params, self.maker.grid
        random = self._random.at(index)
        time_ns = origin_ns + round(index / params.rate_hz * NANOSECONDS)
        return RadarTensor(
            measured_ns=time_ns,
            received_ns=time_ns,
            radar=self.mount.name,
            frame=index,
            power=self.maker.power(self.scatterers(index, random), random),
            origin_m=grid.origin_m,
            steps_m=grid.steps_m,
            radial_velocities_m_s=self.maker.radial_velocities_m_s,
        )

    def joints_m(self, index: int) -> Float64:
        """True joints [P, 15, 3] of ``rt_pose_15`` in the radar frame, in the middle of the frame."""
        times = np.array([index / self.maker.params.rate_hz])
        found = []
        for wearer in self._wearers:
            positions, quaternions = wearer.motion.pose(times)
            joints = landmark_positions_batch(LANDMARK_SET, positions, quaternions, wearer.motion.lengths_m)[0]
            found.append((joints - self.mount.position_world_m) @ self.mount.r_world_from_radar)
        return np.array(found).reshape(len(found), -1, 3)

    def scatterers(self, index: int, random: np.random.Generator) -> Scatterers:
        """All that reflects in one frame: bodies, newly drawn, and the room, which stays."""
        parts = [self._clutter] + [self._body(wearer, index, random) for wearer in self._wearers]
        return Scatterers(
            np.concatenate([part.positions_m for part in parts]),
            np.concatenate([part.radial_velocities_m_s for part in parts]),
            np.concatenate([part.amplitudes for part in parts]),
        )

    def _body(self, wearer: Wearer, index: int, random: np.random.Generator) -> Scatterers:
        """Scatterers on the near side of one body, as many a silhouette's area everywhere."""
        params = self.maker.params
        time_s = index / params.rate_hz
        positions, quaternions = wearer.motion.pose(np.array([time_s - _STEP_S, time_s + _STEP_S]))
        starts, ends = (self._seen_from(part) for part in capsule_ends(positions, quaternions, wearer.motion.lengths_m))
        start, end = starts.mean(0), ends.mean(0)
        area = 2.0 * CAPSULE_RADIUS_M * (np.linalg.norm(end - start, axis=1) + CAPSULE_RADIUS_M)
        count = random.poisson(params.density_m2 * area)
        which = np.repeat(np.arange(len(CAPSULES)), count)
        along = random.random((len(which), 1))
        # Even over the silhouette: the sine of the angle around the limb is uniform.
        side = np.arcsin(2.0 * random.random((len(which), 1)) - 1.0)
        points = start[which] + along * (end[which] - start[which])
        outward = _outward(points, end[which] - start[which], side)
        rates = (starts[1] - starts[0], ends[1] - ends[0])
        velocity = ((1.0 - along) * rates[0][which] + along * rates[1][which]) / (2.0 * _STEP_S)
        points = points + CAPSULE_RADIUS_M[which, None] * outward
        echo = params.gain * math.sqrt(1.0 / params.density_m2) * _complex_normal(random, len(which))
        return _echoes(points, velocity, echo)

    def _seen_from(self, points_m: Float64) -> Float64:
        """World places in the radar frame."""
        return (points_m - self.mount.position_world_m) @ self.mount.r_world_from_radar

    def _room(self, random: np.random.Generator) -> Scatterers:
        """Still reflectors over the lattice and a little beyond, with heavy-tailed areas."""
        params, grid = self.maker.params, self.maker.grid
        up, across, forward = grid.shape
        size = np.array([across, forward, up]) * grid.steps_m
        places = grid.origin_m + size * (1.3 * random.random((params.clutter, 3)) - 0.15)
        places[:, 1] = np.maximum(places[:, 1], _NEAREST_M)
        area = params.clutter_m2 * random.standard_exponential(params.clutter)
        turn = np.exp(2j * np.pi * random.random(params.clutter))
        return _echoes(places, np.zeros_like(places), params.gain * np.sqrt(area) * turn)


def _outward(points: Float64, axis: Float64, side: Float64) -> Float64:
    """Unit normals [N, 3] of a limb's surface, ``side`` rad around the limb from where it faces the radar."""
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    facing = -points
    facing -= (facing * axis).sum(1, keepdims=True) * axis
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    turned: Float64 = np.cos(side) * facing + np.sin(side) * np.cross(axis, facing)
    return turned


def _complex_normal(random: np.random.Generator, count: int) -> Complex128:
    """Circular normal numbers of variance 1: many reflections within one scatterer (Swerling)."""
    parts = random.standard_normal((2, count)) * math.sqrt(0.5)
    return np.asarray(parts[0] + 1j * parts[1])


def _echoes(points: Float64, velocity: Float64, echo: Array) -> Scatterers:
    """Scatterers with the amplitude that is left at their distance (radar equation: power as 1 / R^4)."""
    distance = np.maximum(np.linalg.norm(points, axis=1), _NEAREST_M)
    radial = (points * velocity).sum(1) / distance
    return Scatterers(points, radial, np.asarray(echo / distance**2, dtype=np.complex128))
