"""A cfg read, explained and checked: the figures of known configurations, and each mistake with its line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import FOLDER
from nodes.devices.ti.config import (
    DEVICES,
    ConfigError,
    Figures,
    Finding,
    TiConfig,
    check,
    device_named,
    figures,
    guess_device,
    load_config,
    parse_config,
)
from nodes.devices.ti.figures import elements, frame_bytes

EXAMPLES = sorted((FOLDER / "radar").glob("*.cfg"))
GOOD = (FOLDER / "radar" / "iwr6843.cfg").read_text(encoding="utf-8")
PEOPLE_6_M = """
sensorStop
flushCfg
dfeDataOutputMode 1
channelCfg 15 7 0
adcCfg 2 1
adcbufCfg -1 0 1 1 1
lowPower 0 0
profileCfg 0 60.75 30.00 25.00 59.10 657930 0 54.71 1 96 2950.00 2 1 36
chirpCfg 0 0 0 0 0 0 0 1
chirpCfg 1 1 0 0 0 0 0 2
chirpCfg 2 2 0 0 0 0 0 4
frameCfg 0 2 96 0 55.00 1 0
dynamicRACfarCfg -1 4 4 2 2 8 12 4 12 5.00 8.00 0.40 1 1
guiMonitor -1 1 1 0 0 0 1
sensorPosition 2 0 15
trackingCfg 1 2 800 30 46 96 55
sensorStart
"""


def parsed(text: str) -> TiConfig:
    return parse_config(text, "lab.cfg")


def replaced(command: str, line: str) -> TiConfig:
    """The good one with all lines of a command replaced by one."""
    lines = [text for text in GOOD.splitlines() if text.partition("%")[0].strip()]
    at = next(k for k, text in enumerate(lines) if text.split()[0] == command)
    kept = [text for text in lines if text.split()[0] != command]
    return parsed("\n".join([*kept[:at], line, *kept[at:]]))


def said(config: TiConfig, severity: str, device: str | None = None) -> list[str]:
    found = check(config, None if device is None else device_named(device))
    return [finding.text for finding in found if finding.severity == severity]


# ---- reading


def test_lines_comments_and_ends_of_line() -> None:
    config = parsed("\ufeff% a comment\r\n\r\n  sensorStop  \r\nchannelCfg\t15 7  0 % antennas\r\nsensorStart")
    assert config.lines == ("sensorStop", "channelCfg 15 7 0", "sensorStart")
    assert [command.line for command in config.commands] == [3, 4, 5]
    assert (config.receivers, config.transmitters) == (15, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("% nothing\n", r"lab\.cfg: no command in it; take a \.cfg"),
        ("\nframeCfg 0 2 16 0\n", r"lab\.cfg, line 2: frameCfg has 4 arguments: allowed 7 to 8; compare"),
        ("frameCfg 0 2 16 0 fast 1 0", r"line 1: frameCfg period in ms \(argument 5\) is 'fast': allowed 0\.3 to 1342"),
        ("frameCfg 0 2 0 0 100 1 0", r"number of loops \(argument 3\) is '0': allowed 1 to 255"),
        ("frameCfg 0 2 16.5 0 100 1 0", r"argument 3\) is '16\.5': allowed whole numbers"),
        ("frameCfg 2 1 16 0 100 1 0", r"last chirp \(argument 2\) is '1': allowed 2 to 511"),
        ("frameCfg 0 2 16 0 nan 1 0", r"is 'nan': allowed"),
        ("frameCfg 0 2 16 0 1_00 1 0", r"is '1_00': allowed"),
        ("chirpCfg 0 0 0 0 0 0 0 8", r"mask of transmitters \(argument 8\) is '8': allowed 0 to 7"),
        ("channelCfg 0 7 0", r"mask of receivers \(argument 1\) is '0': allowed 1 to 15"),
        (
            "profileCfg 0 24 7 7 57 0 0 70 1 256 5209 0 0 30",
            r"start frequency in GHz \(argument 2\) is '24': allowed 57",
        ),
        ("guiMonitor -1 3 0 0 0 0 1", r"detected objects \(argument 2\) is '3': allowed 0 to 2"),
        ("dfeDataOutputMode x", r"dfeDataOutputMode a number \(argument 1\) is 'x': allowed a number"),
        ("adcCfg x 1", r"line 1: adcCfg a number \(argument 1\) is 'x': allowed a number"),
        ("channelCfg 15 7 inf\nchannelCfg 15 7 0", r"line 1: channelCfg a number \(argument 3\) is 'inf'"),
        ("sensorStart ä", r"line 1: 'sensorStart ä' has characters that a sensor does not know: allowed ASCII"),
        ("cfarCfg " + "1 " * 130, r"line 1: 267 characters: allowed 255"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(text)


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        config = parsed(text)
    except ConfigError:
        return
    assert all(isinstance(finding, Finding) for finding in check(config))


@given(data=st.data())
def test_any_change_of_a_word_is_read_or_refused(data: st.DataObject) -> None:
    lines = parsed(GOOD).lines
    at = data.draw(st.integers(0, len(lines) - 1))
    words = lines[at].split()
    words[data.draw(st.integers(0, len(words) - 1))] = data.draw(
        st.sampled_from(["", "0", "-1", "7", "1e9", "inf", "x", "0.5", "sensorStart", "frameCfg"])
    )
    try:
        config = parsed("\n".join((*lines[:at], " ".join(words), *lines[at + 1 :])))
    except ConfigError:
        return
    assert all(isinstance(finding, Finding) for finding in check(config))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.cfg: No such file"):
        load_config(tmp_path / "no.cfg")
    path = tmp_path / "some.cfg"
    path.write_bytes("sensorStop % für 6 m\n".encode("latin-1"))
    assert load_config(path).lines == ("sensorStop",)


def test_sensor_position() -> None:
    mount = parsed(PEOPLE_6_M).mount
    assert mount is not None
    assert (mount.height_m, mount.azimuth_tilt_rad) == (2.0, 0.0)
    assert mount.elevation_tilt_rad == pytest.approx(math.radians(15.0))
    five = parsed("sensorPosition 0.5 0.25 1.8 10 5").mount
    assert five is not None
    assert five.height_m == 1.8
    assert five.azimuth_tilt_rad == pytest.approx(math.radians(10.0))


# ---- figures


def test_figures_of_mars() -> None:
    """Facts: 77 GHz, idle 17, ramp 40, slope 100, 80 samples at 2499 ksps, 32 loops, 3 transmitters."""
    row = figures(load_config(FOLDER / "radar" / "xwr1843_mars.cfg"))
    assert row.range_resolution_m == pytest.approx(0.0468, abs=5e-5)
    assert row.range_bin_m == pytest.approx(0.0293, abs=5e-5)
    assert row.max_range_m == pytest.approx(3.75, abs=0.005)
    assert row.velocity_resolution_m_s == pytest.approx(0.356, abs=5e-4)
    assert row.max_velocity_m_s == pytest.approx(5.69, abs=0.005)
    assert row.frame_rate_hz == pytest.approx(10.0)
    assert (row.transmitters, row.receivers) == (3, 4)
    assert (row.azimuth_elements, row.elevation_elements, row.range_bins) == (8, 2, 128)
    assert math.degrees(row.azimuth_resolution_rad) == pytest.approx(14.3, abs=0.05)


def test_figures_of_people_counting_at_6_m() -> None:
    row = figures(parsed(PEOPLE_6_M))
    assert row.range_resolution_m == pytest.approx(0.0842, abs=5e-5)
    assert row.range_bin_m == pytest.approx(0.0631, abs=5e-5)
    assert row.max_range_m == pytest.approx(8.08, abs=0.005)
    assert row.velocity_resolution_m_s == pytest.approx(0.0962, abs=5e-5)
    assert row.max_velocity_m_s == pytest.approx(4.62, abs=0.005)
    assert row.frame_rate_hz == pytest.approx(1000 / 55)
    assert row.duty == pytest.approx(0.0891 * 3 * 96 / 55)


@given(
    loops=st.sampled_from([16, 32, 64, 128]),
    samples=st.sampled_from([64, 128, 256]),
    slope=st.floats(10.0, 60.0),
    rate=st.floats(2000.0, 9000.0),
    idle=st.floats(5.0, 100.0),
)
def test_figures_hang_together(loops: int, samples: int, slope: float, rate: float, idle: float) -> None:
    """Limits are resolution times bins; the observed time and band set the resolutions."""
    text = (
        f"channelCfg 15 7 0\nprofileCfg 0 60 {idle} 5 60 0 0 {slope} 1 {samples} {rate} 0 0 30\n"
        f"chirpCfg 0 2 0 0 0 0 0 1\nframeCfg 0 2 {loops} 0 200 1 0"
    )
    row = figures(parsed(text))
    assert row.range_resolution_m * samples == pytest.approx(row.max_range_m)
    assert row.range_bin_m == pytest.approx(row.range_resolution_m)
    assert row.velocity_resolution_m_s * loops == pytest.approx(2 * row.max_velocity_m_s)
    sampled_hz = slope * 1e12 * samples / (rate * 1e3)
    assert row.range_resolution_m == pytest.approx(299_792_458.0 / 2 / sampled_hz)
    assert row.velocity_resolution_m_s == pytest.approx(299_792_458.0 / 60e9 / 2 / row.active_s)


def test_real_samples_see_half_as_far() -> None:
    text = PEOPLE_6_M.replace("adcCfg 2 1", "adcCfg 2 0")
    assert figures(parsed(text)).max_range_m == pytest.approx(8.0825 / 2, abs=0.001)


def test_sub_frames_have_figures_each() -> None:
    lines = PEOPLE_6_M.replace("dfeDataOutputMode 1", "dfeDataOutputMode 3").splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("frameCfg"))
    lines[at : at + 1] = [
        "advFrameCfg 2 0 0 1 0",
        "subFrameCfg 0 0 0 3 32 30 0 1 1 30",
        "subFrameCfg 1 0 0 1 64 20 0 1 1 20",
    ]
    config = parsed("\n".join(lines))
    near, far = (figures(config, frame=frame) for frame in config.frames)
    assert (near.transmitters, far.transmitters) == (3, 1)
    assert near.frame_rate_hz == far.frame_rate_hz == pytest.approx(20.0)
    assert far.max_velocity_m_s == pytest.approx(3 * near.max_velocity_m_s)
    assert said(config, "error") == []


@pytest.mark.parametrize(
    ("device", "mask", "expected"),
    [
        ("IWR6843", 0b111, (8, 2)),
        ("IWR6843", 0b101, (8, 1)),
        ("IWR6843", 0b011, (4, 2)),
        ("IWR6843", 0b001, (4, 1)),
        ("IWR6843AOP", 0b111, (4, 4)),
        ("IWR6843ODS", 0b111, (4, 4)),
        ("xWR1642", 0b011, (8, 1)),
        ("xWR1443", 0b111, (8, 2)),
    ],
)
def test_elements_in_a_row(device: str, mask: int, expected: tuple[int, int]) -> None:
    assert elements(DEVICES[device], mask, 4) == expected


def test_bytes_of_a_frame_are_those_that_the_encoder_makes() -> None:
    import numpy as np

    from nodes.devices.ti import encoder, trial

    places, speeds, snrs, noises = trial.truth(1, 64)
    tlvs = [
        encoder.plain_points(places, speeds),
        encoder.side_info(snrs, noises),
        encoder.profile(np.ones(128)),
        encoder.statistics(trial.STATISTICS),
        encoder.temperature(trial.TEMPERATURE),
    ]
    monitor = parsed("guiMonitor -1 1 1 0 0 0 1").monitors[0]
    assert frame_bytes(monitor, 64, 128, 32, 8) == len(encoder.encode_frame(1, tlvs))


def test_lines_for_people_name_all_figures() -> None:
    text = "\n".join(figures(parsed(PEOPLE_6_M)).lines())
    for part in (
        "8.42 cm",
        "8.08 m",
        "0.096 m/s",
        "±4.62 m/s",
        "14° in azimuth",
        "57° in elevation",
        "18.18 Hz",
        "IWR6843",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sensorStop", "no frameCfg in it"),
        ("\nframeCfg 0 0 16 0 100 1 0", "line 2: no profile for chirp 0: add a chirpCfg"),
        (
            "profileCfg 0 60 7 5 60 0 0 60 1 256 5209 0 0 30\nchirpCfg 0 0 0 0 0 0 0 1\nframeCfg 0 0 16 0 100 1 0",
            "no channelCfg in it",
        ),
    ],
)
def test_figures_need_their_commands(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        figures(parsed(text))


def test_devices() -> None:
    assert device_named("iwr6843aop") is DEVICES["IWR6843AOP"]
    with pytest.raises(ConfigError, match="device 'kinect': allowed IWR6843, IWR6843AOP"):
        device_named("kinect")
    assert guess_device(parsed(GOOD)).name == "IWR6843"
    assert guess_device(load_config(FOLDER / "radar" / "xwr1843_mars.cfg")).name == "xWR1843"


# ---- checks


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_have_nothing_wrong(path: Path) -> None:
    config = load_config(path)
    assert [finding.text for finding in check(config) if finding.severity != "note"] == []
    assert isinstance(figures(config), Figures)


def test_there_are_two_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["iwr6843.cfg", "xwr1843_mars.cfg"]


def test_people_tracking_needs_other_commands() -> None:
    assert said(parsed(PEOPLE_6_M), "error") == []
    assert any("turns and lifts the sensor's own targets" in text for text in said(parsed(PEOPLE_6_M), "note"))


@pytest.mark.parametrize(
    ("command", "line", "severity", "text"),
    [
        ("dfeDataOutputMode", "dfeDataOutputMode 2", "error", "dfeDataOutputMode 2: allowed 1 (frames) or 3"),
        ("dfeDataOutputMode", "dfeDataOutputMode 3", "error", "but frameCfg gives the frames: allowed 1"),
        ("adcCfg", "adcCfg 2 2", "error", "adcCfg 2: allowed 1 (complex)"),
        ("adcCfg", "adcCfg 0 1", "error", "adcCfg 0: allowed 2 (16 bits)"),
        ("adcbufCfg", "adcbufCfg -1 1 1 1 1", "error", "adcbufCfg format 1: allowed 0"),
        ("channelCfg", "channelCfg 3 7 0", "warning", "channelCfg receivers 3: with 15"),
        ("channelCfg", "channelCfg 15 5 0", "error", "chirp 2 sends with transmitters 2: allowed bits of"),
        ("frameCfg", "frameCfg 0 2 64 0 15 1 0", "error", "but 3 × 64 chirps take 17.1 ms: allowed from 34"),
        ("frameCfg", "frameCfg 0 2 64 0 20 1 0", "warning", "chirps take 17.1 of 20 ms: TI allows half the time"),
        ("frameCfg", "frameCfg 0 2 64 100 50 1 0", "warning", "stops after 100 frames"),
        ("frameCfg", "frameCfg 0 2 64 0 50 2 0", "warning", "trigger 2 waits for a pulse"),
        ("frameCfg", "frameCfg 0 2 30 0 50 1 0", "warning", "30 loops: demos want a multiple of 4"),
        ("frameCfg", "frameCfg 0 3 32 0 50 1 0", "error", "4 chirps a loop: allowed 3"),
        ("frameCfg", "frameCfg 0 3 32 0 50 1 0", "error", "chirp 3 has no chirpCfg"),
        ("frameCfg", "frameCfg 0 2 252 0 200 1 0", "warning", "radar cube of 1512 KiB: IWR6843 has 768"),
        ("chirpCfg", "chirpCfg 0 2 0 0 0 0 0 1", "warning", "all chirps use the same transmitters"),
        ("chirpCfg", "chirpCfg 0 2 1 0 0 0 0 1", "error", "profile 1 has no profileCfg"),
        (
            "profileCfg", "profileCfg 0 60.75 30 25 59.1 0 0 58 1 96 2950 2 1 36", "error",
            "sweeps 60.75 to 64.18 GHz: allowed 60 to 64 on IWR6843",
        ),
        (
            "profileCfg", "profileCfg 0 60.75 30 30 59.1 0 0 54 1 96 2950 2 1 36", "warning",
            "samples until 62.54 µs, but the ramp ends at 59.1 µs; take a longer ramp, fewer samples than 96",
        ),
        ("profileCfg", "profileCfg 0 60 30 1 10 0 0 260 1 64 9000 2 1 36", "error", "slope 260 MHz/µs: allowed"),
        (
            "profileCfg", "profileCfg 0 60 400 5 59.1 0 0 54 1 96 2950 2 1 36", "warning",
            "speeds beyond ±0.91 m/s come out wrong",
        ),
        ("profileCfg", "profileCfg 0 60 30 1 30 0 0 200 1 64 2500 2 1 36", "warning", "sees 1.87 m far: too short"),
        ("guiMonitor", "guiMonitor -1 0 0 0 0 0 1", "error", "guiMonitor sends no detected objects"),
        ("guiMonitor", "guiMonitor -1 2 0 0 0 0 1", "note", "points have no SNR"),
        ("guiMonitor", "guiMonitor -1 1 0 0 1 0 1", "warning", "kB/s: 921600 baud carry 92; switch maps"),
        ("guiMonitor", "guiMonitor -1 1 1 1 0 1 1", "note", "heat maps fill the data port"),
        ("clutterRemoval", "clutterRemoval -1 0", "warning", "clutterRemoval off"),
        ("extendedMaxVelocity", "extendedMaxVelocity -1 1", "note", "doubles the limit of speed by a guess"),
        ("calibData", "sensorStart 0", "warning", "ignores this one"),
    ],
)  # fmt: skip
def test_each_mistake_is_found_with_its_line(command: str, line: str, severity: str, text: str) -> None:
    config = replaced(command, line)
    assert text not in "\n".join(said(parsed(GOOD), severity))
    found = [one for one in said(config, severity) if text in one]
    assert len(found) == 1, said(config, severity)
    assert found[0].startswith("lab.cfg")


@pytest.mark.parametrize("name", ["dfeDataOutputMode", "channelCfg", "adcCfg", "frameCfg", "chirpCfg", "profileCfg"])
def test_missing_commands(name: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(name))
    assert any(f"no {name}: the sensor does not start without it; add it" in one for one in said(parsed(text), "error"))


def test_commands_that_only_the_out_of_box_demo_needs() -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(("cfarCfg", "lvdsStreamCfg")))
    (found,) = said(parsed(text), "warning")
    assert found.startswith("lab.cfg: no cfarCfg, lvdsStreamCfg: the out-of-box demo of SDK 3 does not start without")


def test_a_monitor_that_means_other_things_is_left_alone() -> None:
    config = replaced("guiMonitor", "guiMonitor 1 1 0 1")
    assert config.monitors == ()
    assert said(config, "error") == []


def test_order() -> None:
    lines = [line for line in GOOD.splitlines() if line and not line.startswith("%")]
    late = parsed("\n".join((*lines, "clutterRemoval -1 1")))
    assert said(late, "error") == [
        f"lab.cfg, line {len(lines) + 1}: clutterRemoval after sensorStart (line {len(lines)}): a sensor that runs "
        "refuses it; make sensorStart the last line"
    ]
    assert any("no sensorStart: the sensor stays silent" in one for one in said(parsed("\n".join(lines[:-1])), "error"))
    swapped = parsed("\n".join((lines[1], lines[0], *lines[2:])))
    assert any("flushCfg belongs into place 2" in one for one in said(swapped, "warning"))
    assert any("no sensorStop" in one for one in said(parsed("\n".join(lines[1:])), "warning"))
    frame_first = sorted(lines[2:-1], key=lambda line: not line.startswith("frameCfg"))
    early = parsed("\n".join((*lines[:2], *frame_first, lines[-1])))
    assert any("frameCfg before chirpCfg, on which it depends" in one for one in said(early, "error"))


def test_a_misspelt_command_is_named_with_its_neighbour() -> None:
    assert any(
        "line 2: unknown command 'fremeCfg'; did you mean 'frameCfg'?" in one
        for one in said(parsed("sensorStop\nfremeCfg 1"), "warning")
    )


def test_another_device_has_other_limits() -> None:
    assert any("sweeps 60.75 to 63.98 GHz: allowed 76 to 81" in one for one in said(parsed(GOOD), "error", "xWR1843"))
    assert any("channelCfg transmitters 7: xWR1642 has 2" in one for one in said(parsed(GOOD), "error", "xWR1642"))


def test_findings_are_sorted_errors_first() -> None:
    found = check(parsed("frameCfg 0 2 30 7 50 2 0\nclutterRemoval 0"))
    order = [finding.severity for finding in found]
    assert order == sorted(order, key=["error", "warning", "note"].index)
    assert {"error", "warning"} <= set(order)


def test_two_transmitters_at_77_ghz_are_an_xwr1642() -> None:
    text = (
        (FOLDER / "radar" / "xwr1843_mars.cfg")
        .read_text(encoding="utf-8")
        .replace("channelCfg 15 7 0", "channelCfg 15 3 0")
    )
    assert guess_device(parsed(text)).name == "xWR1642"


def test_sdk_1() -> None:
    text = GOOD.replace("guiMonitor -1 1 0 0 0 0 1", "guiMonitor 1 1 0 0 0 1").replace(
        "profileCfg 0 60.75 30.0 25.0 59.1 0 0 54.71", "profileCfg 0 77 30.0 25.0 59.1 0 0 54.71"
    )
    config = parsed(
        text.replace("clutterRemoval -1 1", "clutterRemoval 1").replace("adcbufCfg -1 0 1", "adcbufCfg 0 1")
    )
    assert guess_device(config).name == "xWR1443"
    assert not config.monitors[0].side_info
    assert said(config, "error") == []
