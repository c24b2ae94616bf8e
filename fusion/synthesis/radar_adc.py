"""The same radar sample by sample: what the converters would have put out, and the FFTs over it.

Slow and plain, as the sentence that ``radar_tensor`` answers to. ``exact`` also moves scatterers while the frame
lasts, so that they wander over range bins, which the closed form leaves out.
"""

from __future__ import annotations

import numpy as np

from fusion.synthesis.radar_tensor import (
    SPEED_OF_LIGHT_M_S,
    ChirpParams,
    Complex128,
    Scatterers,
    VirtualArray,
    antenna_spectra,
    azimuth_spectra,
    elevation_weights,
    range_places,
)


def converter_samples(scatterers: Scatterers, chirp: ChirpParams, *, exact: bool = False) -> Complex128:
    """Complex samples [loop, transmitter's turn, receiver, sample] of one frame.

    Each sample is the mixer's output exp(2 pi i f 2R/c) with f the chirp's frequency then and R the distance then,
    times the phase between antennas (a far, narrow-band target).
    """
    loops, turns = chirp.loops, len(chirp.transmitters)
    distance = np.linalg.norm(scatterers.positions_m, axis=1)
    sight = scatterers.positions_m / distance[:, None]
    chirp_s = chirp.interval_s * np.arange(loops * turns).reshape(loops, turns)
    middle_s = 0.5 * (chirp_s[-1, 0] + chirp.interval_s * (turns - 1))
    sample_s = np.arange(chirp.samples) / chirp.sample_hz
    first_hz = chirp.start_hz + chirp.slope_hz_s * chirp.adc_start_s
    places = range_places(scatterers, chirp)
    result = np.zeros((loops, turns, len(chirp.receivers), chirp.samples), dtype=complex)
    for i in range(len(distance)):
        speed = scatterers.radial_velocities_m_s[i]
        if exact:
            then = distance[i] + speed * (chirp_s[:, :, None] + sample_s - middle_s)
            cycles = 2.0 * (first_hz + chirp.slope_hz_s * sample_s) * then / SPEED_OF_LIGHT_M_S
        else:
            moved = speed * (chirp_s - middle_s)[:, :, None]
            cycles = 2.0 * first_hz * distance[i] / SPEED_OF_LIGHT_M_S + 2.0 * moved / chirp.wavelength_m
            cycles = cycles + places[i] * np.arange(chirp.samples) / chirp.samples
        echo = scatterers.amplitudes[i] * np.exp(2j * np.pi * cycles)
        path = np.array([[x + rx, up] for x, up in chirp.transmitters for rx in chirp.receivers]) @ sight[i, [0, 2]]
        between = np.exp(2j * np.pi * path * chirp.array_step_m / chirp.wavelength_m)
        result += echo[:, :, None, :] * between.reshape(turns, -1)[None, :, :, None]
    return result


def spectra_of(samples: Complex128, chirp: ChirpParams) -> Complex128:
    """The chain of FFTs: [R, D, A, E] from samples [loop, turn, receiver, sample]."""
    array = VirtualArray.of(chirp)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(chirp.samples) / chirp.samples)
    ranged = np.fft.fft(samples * window, axis=3)
    moving = np.fft.fftshift(np.fft.fft(ranged, axis=0), axes=0)
    laid = np.zeros((chirp.samples, chirp.loops, chirp.azimuth_bins, chirp.elevation_bins), dtype=complex)
    laid[:, :, array.across, array.rows[array.row]] = moving[:, array.turn, array.receiver, :].transpose(2, 0, 1)
    return np.asarray(np.fft.fftshift(np.fft.fft2(laid, axes=(2, 3)), axes=(2, 3)))


def closed_form_spectra(scatterers: Scatterers, chirp: ChirpParams) -> Complex128:
    """What ``radar_tensor`` makes of the same scatterers, up to the same place: [R, D, A, E]."""
    array = VirtualArray.of(chirp)
    azimuths = azimuth_spectra(antenna_spectra(scatterers, chirp, array), chirp, array)
    return np.asarray(np.einsum("rqad,eq->rdae", azimuths, elevation_weights(chirp, array)))
