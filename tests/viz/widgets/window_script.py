"""Run by the window's tests in a process of its own: opens the window on made-up records and prints findings as JSON.

python window_script.py TASK [PNG]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import viewer_lab as lab
from PySide6 import QtCore, QtGui, QtTest

from fusion.body import skeleton as body
from fusion.body.angles import ANGLE
from fusion.maths.camera import project
from fusion.records import Array, People, UInt8
from viz.models import colours
from viz.models.feed import Arrival
from viz.models.options import ViewOptions
from viz.models.scene import SceneModel
from viz.models.skeleton import MASS_RING_M
from viz.widgets import style
from viz.widgets.angles import across, down
from viz.widgets.guide import NAME_PX, ROW_PX
from viz.widgets.jpeg import decode_jpeg, image_pixels
from viz.widgets.window import PANELS, ViewerWindow, open_application

SIZE = (1280, 800)
INFERRED = ("left_hand", "left_forearm")
RIG = lab.lab()
LONG_BONES = np.array(
    [
        (body.PARENTS[body.SEGMENT[name]], body.SEGMENT[name])
        for name in ("right_hand", "right_forearm", "left_lower_leg", "right_lower_leg", "left_foot", "right_foot")
    ]
)
KNEES = [ANGLE["right_knee_flexion"], ANGLE["left_knee_flexion"]]
FUSION = {"out fusion/people": (30.0, 0.01, 0, 0), "out fusion/innovations": (1.0, 4.0, 0, 0)}
SHIFTS_M = {"people": 0.0, "smoothed": 0.9, "predicted": -0.9}
"""Where the person of each answer stands, so that they are told apart in a picture."""


def moved(record: People, shift_m: float) -> People:
    """Everyone shifted along x."""
    shift = np.array([shift_m, 0.0, 0.0], np.float32)
    return replace(record, positions_m=record.positions_m + shift, centre_of_mass_m=record.centre_of_mass_m + shift)


class MadeUpFeed:
    """A person seen by four cameras and a radar; cam4 sends no pictures, cam2 JPEG."""

    def __init__(self, answers: tuple[str, ...] = ("people",), counters: dict[str, float] | None = None) -> None:
        self.time_s = 0.0
        self.waiting: list[Arrival] = []
        self.answers, self.counters = answers, counters or {}

    def step(self) -> None:
        self.time_s += 1 / 30
        for topic, record in self._records():
            self.waiting.append(Arrival(topic, record, self.now_ns(), self.now_ns() - 2_000_000))

    def _records(self) -> Iterator[tuple[str, object]]:
        time_s = self.time_s
        for camera in RIG.cameras[:3]:
            picture = lab.picture(time_s, camera.name, 640, 360)
            if camera.name == "cam2":
                picture = replace(picture, encoding="jpeg", data=jpeg(picture.data.reshape(360, 640, 3)))
            yield f"{camera.name}/image", picture
        for camera in RIG.cameras:
            yield f"pose/{camera.name}", lab.landmarks(time_s, camera)
        for answer in self.answers:
            yield f"fusion/{answer}", moved(lab.people(time_s, inferred=INFERRED), SHIFTS_M[answer])
        yield "fusion/innovations", lab.innovations(time_s, {"cam1": (0.97, 900, 3), "cam2": (3.1, 800, 200)})
        yield "fusion/inertial", lab.inertial(time_s, ("pelvis", "left_forearm"))
        yield "radar1/points", lab.radar_points(time_s)
        yield "sim/truth", lab.truth(time_s)
        yield "@/health", lab.health("fusion", FUSION, time_s, counters=self.counters)
        yield "@/health", lab.health("cam4", {"out cam4/image": (0.0, 7.0, 0, 0)}, time_s)

    def drain(self, budget_s: float) -> Iterator[Arrival]:
        waiting, self.waiting = self.waiting, []
        yield from waiting

    def now_ns(self) -> int:
        return round(self.time_s * lab.NS)

    def state(self) -> str:
        return "live"


class MadeUpRecording:
    """Notes what the button asked for."""

    def __init__(self, failing: bool = False) -> None:
        self.calls: list[str] = []
        self.failing = failing

    def start(self) -> str:
        self.calls.append("start")
        if self.failing:
            raise OSError("the disk is full; make room")
        return "somewhere.mcap"

    def stop(self) -> str:
        self.calls.append("stop")
        return "recorded"


def jpeg(bgr: UInt8) -> UInt8:
    """A picture as JPEG, by Qt."""
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    image = QtGui.QImage(rgb.data, rgb.shape[1], rgb.shape[0], rgb.strides[0], QtGui.QImage.Format.Format_RGB888)
    buffer = QtCore.QBuffer()
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "JPEG", 90)  # type: ignore[call-overload]
    return np.frombuffer(buffer.data().data(), np.uint8).copy()


def near(picture: UInt8, place: Array, colour: tuple[float, float, float], radius_px: int = 4) -> bool:
    """Whether a pixel of about that colour is near the place."""
    x, y = (round(float(part)) for part in place)
    patch = picture[max(y - radius_px, 0) : y + radius_px + 1, max(x - radius_px, 0) : x + radius_px + 1]
    distance = np.abs(patch.astype(float) - 255 * np.array(colour)).max(axis=2)
    return bool(distance.size and distance.min() < 60)


def opened(
    no_gl: str = "", options: ViewOptions | None = None, feed: MadeUpFeed | None = None, panel: str = "streams"
) -> tuple[ViewerWindow, MadeUpFeed]:
    """A window that is shown and has drawn some records; its timer stands still."""
    feed = feed or MadeUpFeed()
    window = ViewerWindow("lab", SceneModel(RIG, decode_jpeg), feed, no_gl=no_gl, options=options, panel=panel)
    window.resize(*SIZE)
    window.show()
    QtTest.QTest.qWaitForWindowExposed(window)
    for _ in range(20):
        advance(window, feed)
    return window, feed


def advance(window: ViewerWindow, feed: MadeUpFeed) -> None:
    feed.step()
    window.tick()
    window._timer.stop()
    QtCore.QCoreApplication.processEvents()


def picture_of(window: ViewerWindow, path: str) -> UInt8:
    image = window.grab().toImage()
    assert image.save(path, "PNG")
    return image_pixels(image)


def scene_places(window: ViewerWindow, points_m: Array) -> Array:
    """Where in the window points [N, 3] of the room appear: [N, 2] px."""
    view = window.scene.view
    box = (0, 0, view.width(), view.height())
    matrix = np.array((view.projectionMatrix(box, box) * view.viewMatrix()).data()).reshape(4, 4).T
    clip = np.c_[points_m, np.ones(len(points_m))] @ matrix.T
    corner = view.mapTo(window, QtCore.QPoint(0, 0))
    x = corner.x() + (clip[:, 0] / clip[:, 3] + 1) / 2 * view.width()
    y = corner.y() + (1 - clip[:, 1] / clip[:, 3]) / 2 * view.height()
    return np.c_[x, y]


def content(path: str) -> dict[str, object]:
    """How many joints of the person are found in the 3-D view and in the cameras' panels."""
    window, feed = opened()
    picture = picture_of(window, path)
    record = lab.people(feed.time_s, inferred=INFERRED)
    joints = record.positions_m[0].astype(np.float64)
    person = colours.person_colour(1)
    measured = record.measured[0].astype(bool)
    in_scene = [near(picture, place, person) for place in scene_places(window, joints)[measured]]
    in_panels, pictured = {}, {}
    for camera in RIG.cameras:
        panel = window.panels.panels[camera.name]
        rect = panel.picture_rect().translated(QtCore.QPointF(panel.mapTo(window, QtCore.QPoint(0, 0))))
        scale = rect.width() / camera.width
        places = project(joints, camera)[0] * scale + np.array([rect.x(), rect.y()])
        # Landmarks cover the joints, so the bones are looked for in their middle.
        middles = (places[LONG_BONES[:, 0]] + places[LONG_BONES[:, 1]]) / 2
        in_panels[camera.name] = sum(near(picture, place, person, 2) for place in middles)
        corner_pixel = picture[round(rect.bottom()) - 4, round(rect.right()) - 4]
        pictured[camera.name] = bool(corner_pixel[0] > 100)
    return {
        "renderer_valid": bool(window.scene.view.isValid()),
        "measured": int(measured.sum()),
        "in_scene": sum(in_scene),
        "long_bones": len(LONG_BONES),
        "in_panels": in_panels,
        "pictured": pictured,
        "table": [window.table.item(row, 3).text() for row in range(window.table.rowCount())],
        "late": window.table.item(0, 5).foreground().color().name(),
        "status": [label.text() for label in window._labels],
    }


def answers(path: str) -> dict[str, object]:
    """Which answer's measured joints are found in the 3-D view, with each key; what can be chosen."""
    window, feed = opened(feed=MadeUpFeed(("people", "smoothed")))
    person, ghost = colours.person_colour(1), colours.GHOSTS["people"]
    found: dict[str, object] = {"can": {name: item.isEnabled() for name, item in window.answer_actions.items()}}
    steps = {
        "people": None,
        "smoothed": window.answer_actions["smoothed"],
        "ghosts": window.option_actions["ghosts"],
    }
    for name, action in steps.items():
        if action is not None:
            action.trigger()
        advance(window, feed)
        picture = picture_of(window, path)
        record = lab.people(feed.time_s, inferred=INFERRED)
        of = {answer: moved(record, SHIFTS_M[answer]).positions_m[0] for answer in feed.answers}
        joints = {answer: scene_places(window, places[record.measured[0] > 0]) for answer, places in of.items()}
        found[name] = {answer: sum(near(picture, place, person) for place in joints[answer]) for answer in joints}
        shank = [body.SEGMENT["right_lower_leg"], body.SEGMENT["right_foot"]]
        middle = scene_places(window, of["people"][shank].mean(axis=0)[None])[0]
        found[f"{name} shank"] = near(picture, middle, tuple(0.8 * part for part in ghost), 2)
        found[f"{name} text"] = window.scene._answer.text() if window.scene._answer.isVisible() else ""
    keys = [item.shortcut().toString() for item in window.findChildren(QtGui.QAction) if not item.shortcut().isEmpty()]
    keys += [item.key().toString() for item in window.findChildren(QtGui.QShortcut)]
    found["keys"] = sorted(keys)
    found["measured"] = int((record.measured[0] > 0).sum())
    return found


def centre_of_mass(path: str) -> dict[str, object]:
    """The mark at the centre of mass and the ring on the floor below it."""
    window, feed = opened()
    plain = picture_of(window, path).astype(int)
    window.option_actions["centre_of_mass"].trigger()
    window.tick()
    window._timer.stop()
    picture = picture_of(window, path)
    centre = lab.people(feed.time_s).centre_of_mass_m[0].astype(np.float64)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.c_[centre[0] + MASS_RING_M * np.cos(angles), centre[1] + MASS_RING_M * np.sin(angles), np.zeros(12)]
    places = scene_places(window, np.r_[centre[None], ring])
    return {
        "white": [near(image.astype(np.uint8), places[0], (1.0, 1.0, 1.0), 2) for image in (plain, picture)],
        "ring": sum(near(picture, place, colours.person_colour(1), 2) for place in places[1:]),
        "legend": "centre of mass" in window.scene._legend.text(),
    }


def panels(path: str) -> dict[str, object]:
    """What stands in the panels of sources and angles, and the warning that all of them share."""
    feed = MadeUpFeed(counters={"births": 1.0, "understated/cam2": 3.1})
    window, _ = opened(feed=feed, panel="angles")
    window._drawn_s["streams"] = -math.inf
    QtTest.QTest.mouseClick(window.angles.joints["hip"], QtCore.Qt.MouseButton.LeftButton)
    window._drawn_s["angles"] = -math.inf
    advance(window, feed)
    picture = picture_of(window, path)
    (axes,) = window.model.angles("people", window.angles.options).axes
    (rect,) = window.angles.plots.plot_rects()
    corner = window.angles.plots.mapTo(window, QtCore.QPoint(0, 0))
    on_curve = {}
    for curve in axes.curves:
        places = np.concatenate(
            [np.c_[across(piece.times_s, axes, rect), down(piece.degrees, axes, rect)] for piece in curve.pieces]
        )
        hits = [near(picture, place + np.array([corner.x(), corner.y()]), curve.colour, 2) for place in places]
        on_curve[curve.side] = [sum(hits), len(hits)]
    numbers = window.angles.numbers
    cells = [[numbers.item(row, column).text() for column in range(3)] for row in range(numbers.rowCount())]
    window.open_panel("sources")
    advance(window, feed)
    sources, sensors = window.sources.table, window.sources.sensors
    return {
        "axes": axes.title,
        "on_curve": on_curve,
        "cells": cells,
        "truth": np.degrees(lab.people(feed.time_s - 1 / 30).angles_rad[0, KNEES]).tolist(),
        "person": window.angles.person.currentText(),
        "open": window.tabs.tabText(window.tabs.currentIndex()),
        "sources": [[sources.item(row, column).text() for column in (0, 3, 7)] for row in range(sources.rowCount())],
        "sensors": [[sensors.item(row, column).text() for column in range(6)] for row in range(sensors.rowCount())],
        "sensors visible": sensors.isVisible(),
        "sensor colours": [sensors.item(1, column).foreground().color().name() for column in (3, 5)],
        "colour": sources.item(0, 0).foreground().color().name(),
        "warning": window.warning.text() if window.warning.isVisible() else "",
        "figures": window.table.item(1, 9).text(),
    }


class RadarFeed(MadeUpFeed):
    """A radar alone in the room, two bodies, one of them still, and joints of the first."""

    def _records(self) -> Iterator[tuple[str, object]]:
        time_s = self.time_s
        points = replace(lab.radar_points(time_s), frame=round(time_s * 30) + round(time_s * 30) // 5)
        yield "radar1/points", points
        yield "radar1/tracks", lab.radar_tracks(time_s, (0.0, 4.0))
        yield "net/joints", lab.radar_joints(time_s)
        streams = {"out radar1/points": (30.0, 0.01, 0, 0)}
        yield "@/health", lab.health("radar1", streams, time_s, counters={"resyncs": 2.0})


def radar(path: str) -> dict[str, object]:
    """What is seen of a radar, with everything on and with each kind switched off."""
    feed = RadarFeed()
    window = ViewerWindow("lab", SceneModel(lab.lab(0)), feed, panel="sources")
    window.resize(*SIZE)
    window.show()
    QtTest.QTest.qWaitForWindowExposed(window)
    for _ in range(24):
        feed.step()
    advance(window, feed)
    window._drawn_s["sources"] = -math.inf
    window.tick()
    window._timer.stop()
    QtCore.QCoreApplication.processEvents()
    plain = picture_of(window, path)
    bottom = window.scene.mapTo(window, QtCore.QPoint(0, 0)).y() + window.scene.height()
    labels = [label.text() for label in window.scene._moving_labels if label.isVisible()]
    radars = window.sources.radars
    cells = [radars.item(0, column).text() for column in range(radars.columnCount())]
    tracks, joints = lab.radar_tracks(feed.time_s, (0.0, 4.0)), lab.radar_joints(feed.time_s)
    mount = lab.lab(0).radars[0]
    shoulders = joints.positions_m[0, :9].astype(np.float64) @ mount.r_world_from_radar.T + mount.position_world_m
    ring = tracks.positions_m[0].astype(np.float64) + tracks.extents_m[0] * [[1, 0, 0], [-1, 0, 0], [0, 1, 0]]
    ring[:, 2] = 0.0
    found = {
        "joints": sum(near(plain, place, colours.RADAR) for place in scene_places(window, shoulders)),
        "track": sum(near(plain, place, colours.track_colour(1), 3) for place in scene_places(window, ring)),
        "labels": labels,
        "cells": cells,
        "lost colour": radars.item(0, 5).foreground().color().name(),
        "legend": window.scene._legend.text(),
        "pictures": window.panels.isVisible(),
        "button": window.radar_button.isVisible(),
        "keys": [action.shortcut().toString() for action in window.actions() if not action.shortcut().isEmpty()],
    }
    changed, legends = {}, {}
    for name, action in window.radar_actions.items():
        for step in ("off", "on"):
            action.trigger()
            window.tick()
            window._timer.stop()
            QtCore.QCoreApplication.processEvents()
            now = picture_of(window, path)
            different = np.abs(now.astype(int) - plain.astype(int)).max(axis=2) > 30
            changed[f"{name} {step}"] = int(different[:bottom].sum())
            legends[f"{name} {step}"] = window.scene._legend.text()
    return {**found, "changed": changed, "legends": legends}


def guide(path: str) -> dict[str, object]:
    """The panel of a guided calibration comes with the first guide; its words and the colours of its bars."""
    window, feed = opened(no_gl="not wanted here")
    index = list(PANELS).index("guide")
    before = [window.tabs.isTabVisible(index), window.tabs.tabText(window.tabs.currentIndex())]
    feed.waiting.append(Arrival("guide/guide", lab.guide(feed.time_s), feed.now_ns(), 0))
    window._drawn_s["guide"] = -math.inf
    advance(window, feed)
    panel = window.guide
    QtCore.QCoreApplication.processEvents()
    picture = picture_of(window, path)
    corner = panel.bars.mapTo(window, QtCore.QPoint(0, 0))
    middles = [np.array([corner.x() + NAME_PX + 4, corner.y() + row * ROW_PX + ROW_PX // 2]) for row in range(3)]
    colours_rgb = [QtGui.QColor(name).getRgbF()[:3] for name in (style.FINE, style.WARNING)]
    window.open_panel("streams")
    feed.waiting.append(Arrival("guide/guide", lab.guide(feed.time_s), feed.now_ns(), 0))
    advance(window, feed)
    return {
        "before": before,
        "after": window.tabs.isTabVisible(index),
        "stays": window.tabs.tabText(window.tabs.currentIndex()),
        "title": panel.title.text(),
        "instruction": panel.instruction.text(),
        "message": panel.message.text(),
        "progress": panel.progress.value() / panel.progress.maximum(),
        "painted": [near(picture, middles[row], colours_rgb[row], 1) for row in range(2)],
        "silent": any(near(picture, middles[2], rgb, 1) for rgb in colours_rgb),
    }


def switches(path: str) -> dict[str, object]:
    """Pixels of the whole window with the switches off and on; what pause and record do."""
    window, feed = opened(options=ViewOptions(reprojection=False), feed=MadeUpFeed(("people", "smoothed")))
    plain = picture_of(window, path).astype(int)
    top = window.scene.mapTo(window, QtCore.QPoint(0, 0)).y()
    bottom = top + window.scene.height()
    changed = {}
    for name, action in window.option_actions.items():
        action.setChecked(True)
        window.tick()
        window._timer.stop()
        QtCore.QCoreApplication.processEvents()
        now = picture_of(window, path).astype(int)
        changed[name] = int((np.abs(now - plain).max(axis=2) > 30)[top:bottom].sum())
        action.setChecked(False)
    window.pause_action.setChecked(True)
    drawn, taken = window.frames_drawn, window.model.state.records
    advance(window, feed)
    paused = {"drawn": window.frames_drawn - drawn, "taken": window.model.state.records - taken}
    window.pause_action.setChecked(False)
    advance(window, feed)
    paused["drawn_after"] = window.frames_drawn - drawn
    window.panels.show_alone("cam2")
    alone = [name for name, panel in window.panels.panels.items() if panel.isVisible()]
    return {"changed": changed, "paused": paused, "alone": alone, "record": record_button()}


def record_button() -> dict[str, object]:
    calls: dict[str, object] = {}
    for failing in (False, True):
        recording = MadeUpRecording(failing)
        window = ViewerWindow("lab", SceneModel(RIG), MadeUpFeed(), recording=recording, no_gl="not wanted here")
        window.record_action.setChecked(True)
        calls["failing" if failing else "working"] = [window.record_action.isChecked(), window._note_label.text()]
        window.close()
        calls["failing_calls" if failing else "working_calls"] = recording.calls
    return calls


def without_gl(path: str) -> dict[str, object]:
    """The 2-D parts where there is no OpenGL."""
    window, _ = opened(no_gl="no OpenGL context: the advice")
    picture = picture_of(window, path)
    texts = [label.text() for label in window.scene.findChildren(type(window._note_label))]
    panel = window.panels.panels["cam1"]
    rect = panel.picture_rect().translated(QtCore.QPointF(panel.mapTo(window, QtCore.QPoint(0, 0))))
    inside = picture[int(rect.top()) : int(rect.bottom()), int(rect.left()) : int(rect.right())]
    return {"view": window.scene.view is None, "texts": texts, "brightest": int(inside.max())}


def references(_path: str) -> dict[str, object]:
    """References to None over 1,000 updates."""
    window, feed = opened(no_gl="not wanted here")
    feed.step()
    arrivals = list(feed.waiting)
    before = sys.getrefcount(None)
    for _ in range(1000):
        feed.waiting = list(arrivals)
        window.tick()
        window._timer.stop()
        QtCore.QCoreApplication.processEvents()
    return {"before": before, "after": sys.getrefcount(None), "drawn": window.frames_drawn}


if __name__ == "__main__":
    application = open_application()
    tasks = (content, answers, centre_of_mass, panels, guide, switches, radar, without_gl, references)
    task = {task.__name__: task for task in tasks}[sys.argv[1]]
    print(json.dumps(task(sys.argv[2])), flush=True)
