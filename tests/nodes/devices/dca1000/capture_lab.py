"""A made-up raw radar: a configuration, reflectors, and the frames that its converters would send."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusion.records import Float64
from fusion.synthesis.radar_adc import converter_samples
from fusion.synthesis.radar_tensor import SPEED_OF_LIGHT_M_S, ChirpParams, Complex128, Scatterers

CFG = """sensorStop
flushCfg
dfeDataOutputMode 1
channelCfg 15 7 0
adcCfg 2 1
adcbufCfg -1 0 {swap} 1 1
profileCfg 0 60.75 30.0 25.0 59.1 0 0 54.71 1 96 2950 2 1 36
chirpCfg 0 0 0 0 0 0 0 1
chirpCfg 1 1 0 0 0 0 0 4
chirpCfg 2 2 0 0 0 0 0 2
frameCfg 0 2 32 0 50 1 0
lowPower 0 0
guiMonitor -1 1 0 0 0 0 1
cfarCfg -1 0 2 8 4 3 0 12 1
cfarCfg -1 1 0 4 2 3 1 12 1
multiObjBeamForming -1 1 0.5
clutterRemoval -1 1
calibDcRangeSig -1 0 -5 8 256
extendedMaxVelocity -1 0
bpmCfg -1 0 0 1
lvdsStreamCfg {lanes}
compRangeBiasAndRxChanPhase 0.0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0
measureRangeBiasAndRxChanPhase 0 1.5 0.2
CQRxSatMonitor 0 3 5 121 0
CQSigImgMonitor 0 95 4
analogMonitor 0 0
aoaFovCfg -1 -90 90 -90 90
cfarFovCfg -1 0 0.3 8.0
cfarFovCfg -1 1 -5 5
calibData 0 0 0
sensorStart
"""
CHIRP = ChirpParams(
    start_hz=60.75e9,
    slope_hz_s=54.71e12,
    adc_start_s=25e-6,
    samples=96,
    sample_hz=2.95e6,
    loops=32,
    interval_s=89.1e-6,
    transmitters=((0, 0), (4, 0), (2, 1)),
    receivers=(0, 1, 2, 3),
    array_step_m=0.5 * SPEED_OF_LIGHT_M_S / 62.9e9,
)


def write_cfg(
    folder: Path, *, swapped: bool = True, lanes: str = "-1 0 1 0", change: tuple[str, str] = ("", "")
) -> str:
    path = folder / "raw.cfg"
    path.write_text(CFG.format(swap=int(swapped), lanes=lanes).replace(*change))
    return str(path)


def samples(
    positions_m: list[list[float]], speeds_m_s: list[float], noise: float = 5.0, seed: int = 1, exact: bool = False
) -> Complex128:
    """Samples [loop, transmitter, receiver, sample] of reflectors in the radar frame, as a converter's numbers."""
    places: Float64 = np.array(positions_m, dtype=np.float64).reshape(-1, 3)
    count, random = len(places), np.random.default_rng(seed)
    scatterers = Scatterers(places, np.array(speeds_m_s, dtype=np.float64), np.full(count, 300.0 + 0.0j))
    clean = converter_samples(scatterers, CHIRP, exact=exact)
    return clean + noise * (random.normal(size=clean.shape) + 1j * random.normal(size=clean.shape))
