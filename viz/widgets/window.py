"""The viewer's window: one timer takes what has come and draws it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from viz.models.feed import Feed, RecordingControl, next_interval_ms
from viz.models.health import rate_text
from viz.models.options import ANSWERS, PanelName, ViewOptions
from viz.models.scene import SceneModel, Status
from viz.widgets import style
from viz.widgets.angles import AnglesPanel
from viz.widgets.guide import GuidePanel
from viz.widgets.panels import PanelGrid
from viz.widgets.scene3d import SceneView
from viz.widgets.table import HealthTable, SourcesPanel

DRAIN_BUDGET_S = 0.05
TABLE_PERIOD_S = 0.25
ANGLES_PERIOD_S = 0.1
GUIDE_PERIOD_S = 0.1
DEFAULT_SIZE = (1280, 800)
SCENE_SHARE, PANELS_SHARE = 58, 42
UPPER_SHARE, TABLE_SHARE = 72, 28

PANELS: dict[PanelName, tuple[str, str, str]] = {
    "streams": ("Streams", "S", "How often, how late and how much was lost"),
    "sources": (
        "Sources",
        "D",
        "How the errors of each source compare with its claims; how inertial sensors sit; how radars do",
    ),
    "angles": ("Angles", "A", "Clinical joint angles of the last ten seconds"),
    "guide": ("Calibration", "C", "What the wearer of inertial sensors should do"),
}
"""Panels below the scene: title, key, what it is for."""
_ANSWER_TEXTS = (
    ("people", "People", "1", "Everyone as they are"),
    ("smoothed", "Smoothed", "2", "Everyone as they were a moment ago, in the light of what came since: lag_s"),
    ("predicted", "Predicted", "3", "Everyone as they will be in a moment: ahead_s"),
)

_RADAR_TEXTS = (
    ("points", "Points by radial speed", "V", "Radar detections: blue approaches, red recedes"),
    ("tracks", "Tracks", "K", "Bodies that radars follow, with their way of the last seconds"),
    ("joints", "Joints", "J", "Joints that a network makes of a radar's points or its tensor"),
    ("fields", "Field of view", "F", "What each radar can see"),
)


class ViewerWindow(QtWidgets.QMainWindow):
    """Scene, pictures, health, status; records come from a ``Feed`` on the drawing timer only."""

    def __init__(
        self,
        title: str,
        model: SceneModel,
        feed: Feed,
        *,
        recording: RecordingControl | None = None,
        no_gl: str = "",
        options: ViewOptions | None = None,
        panel: PanelName = "streams",
    ) -> None:
        """Set up the window.

        Args:
            title: the session's name.
            model: takes the records.
            feed: gives them.
            recording: what the record button does; without it the button is off.
            no_gl: why there is no OpenGL; empty where there is.
            options: switched on at the start.
            panel: of ``PANELS``, open at the start.
        """
        super().__init__()
        self.setWindowTitle(f"{title} – Kinefuse")
        self.resize(*DEFAULT_SIZE)
        self.model, self.feed = model, feed
        self._title, self._recording = title, recording
        self.options = options or ViewOptions()
        self.paused = False
        self.frames_drawn = 0
        self._drawn_s = dict.fromkeys(PANELS, -math.inf)
        self._due_s = self._last_s = time.perf_counter()
        self._fps = 0.0
        self.scene, self.panels, self.table = SceneView(model.fixtures(), no_gl), PanelGrid(), HealthTable()
        self.sources, self.angles, self.guide = SourcesPanel(), AnglesPanel(), GuidePanel()
        self._lay_out()
        self.open_panel(panel)
        self._add_toolbar()
        self._add_status_bar()
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.tick)
        self._timer.start(0)

    def tick(self) -> None:
        """Take what has come, draw it, and set the timer for the next time."""
        started_s = time.perf_counter()
        for arrival in self.feed.drain(DRAIN_BUDGET_S):
            self.model.update(*arrival)
        if not self.paused:
            self._draw()
        self._draw_status()
        self._fps += 0.1 * (1.0 / max(started_s - self._last_s, 1e-3) - self._fps)
        self._last_s = started_s
        # The paint events of the last drawing ran between its end and this call: they make the timer late.
        spent_ms = 1e3 * (time.perf_counter() - started_s + max(0.0, started_s - self._due_s))
        wait_ms = next_interval_ms(spent_ms)
        self._due_s = time.perf_counter() + wait_ms / 1e3
        self._timer.start(wait_ms)

    def stop(self) -> None:
        """Draw no more, and end a recording that this window began."""
        self._timer.stop()
        if self.record_action.isChecked():
            self.record_action.setChecked(False)

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:
        """Leave the graph as it is."""
        self.stop()
        super().closeEvent(event)

    def _draw(self) -> None:
        now_ns = self.feed.now_ns()
        self.scene.draw(self.model.scene(now_ns, self.options), self.options)
        pictures = self.model.panels(self.options)
        self.panels.draw(pictures)
        self.panels.setVisible(bool(pictures or self.model.rig.cameras))
        if self._due("streams", TABLE_PERIOD_S):
            self.table.draw(self.model.health(now_ns))
            self._warn()
            self._offer_answers()
        if self.tabs.currentWidget() is self.sources and self._due("sources", TABLE_PERIOD_S):
            self.sources.draw(self.model.honesty(now_ns), self.model.inertial(now_ns), self.model.radars(now_ns))
        if self.tabs.currentWidget() is self.angles and self._due("angles", ANGLES_PERIOD_S):
            self.angles.draw(self.model.angles(self.options.answer, self.angles.options))
        self._draw_guide(now_ns)
        self.frames_drawn += 1

    def _draw_guide(self, now_ns: int) -> None:
        """The panel of a guided calibration, which comes to the front with the first guide."""
        index = list(PANELS).index("guide")
        view = self.model.guide(now_ns)
        if view is not None and not self.tabs.isTabVisible(index):
            self.open_panel("guide")
        if self.tabs.currentWidget() is self.guide and self._due("guide", GUIDE_PERIOD_S):
            self.guide.draw(view)

    def _due(self, panel: PanelName, period_s: float) -> bool:
        """Whether a panel was drawn long ago; then it counts as drawn now."""
        now_s = time.perf_counter()
        if now_s - self._drawn_s[panel] < period_s:
            return False
        self._drawn_s[panel] = now_s
        return True

    def _warn(self) -> None:
        """Name the sources that understate their errors, whichever panel is open."""
        found = [item.words() for item in self.model.understated()]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        text = f"⚠ {found[0]}{more}" if found else ""
        if self.warning.text() != text:
            self.warning.setText(text)
            self.warning.setToolTip("\n".join(found))
            self.warning.setVisible(bool(text))

    def _offer_answers(self) -> None:
        """Only what has come can be chosen; what is chosen stays so."""
        known = self.model.people_model.answers()
        for answer, action in self.answer_actions.items():
            action.setEnabled(answer in known or answer in (ANSWERS[0], self.options.answer))
        self.option_actions["ghosts"].setEnabled(len(known) > 1 or self.options.ghosts)

    def open_panel(self, name: PanelName) -> None:
        """Bring one of ``PANELS`` to the front."""
        index = list(PANELS).index(name)
        self.tabs.setTabVisible(index, True)
        self.tabs.setCurrentIndex(index)
        self._drawn_s[name] = -math.inf

    def _draw_status(self) -> None:
        status = self.model.status(self.feed.now_ns(), self.options.answer)
        for label, text in zip(self._labels, status_texts(status, self._fps), strict=True):
            if label.text() != text:
                label.setText(text)
        state = "display paused, the graph goes on" if self.paused else self.feed.state()
        self._state_label.setText(f"<b>{self._title}</b> &nbsp; {state}")

    def _lay_out(self) -> None:
        upper = QtWidgets.QSplitter(QtCore.Qt.Orientation.Horizontal)
        upper.addWidget(self.scene)
        upper.addWidget(self.panels)
        self.panels.setVisible(bool(self.model.rig.cameras))
        upper.setStretchFactor(0, SCENE_SHARE)
        upper.setStretchFactor(1, PANELS_SHARE)
        whole = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
        whole.addWidget(upper)
        whole.addWidget(self._add_tabs())
        width, height = DEFAULT_SIZE
        upper.setSizes([width * SCENE_SHARE // 100, width * PANELS_SHARE // 100])
        whole.setSizes([height * UPPER_SHARE // 100, height * TABLE_SHARE // 100])
        whole.setStretchFactor(0, UPPER_SHARE)
        whole.setStretchFactor(1, TABLE_SHARE)
        for splitter in (upper, whole):
            splitter.setHandleWidth(2)
            splitter.setChildrenCollapsible(False)
        self.setCentralWidget(whole)

    def _add_tabs(self) -> QtWidgets.QTabWidget:
        """The panels below the scene, and in their corner the warning that stays in sight."""
        self.tabs = QtWidgets.QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.tabs.tabBar().setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        widgets: dict[PanelName, QtWidgets.QWidget] = {
            "streams": self.table,
            "sources": self.sources,
            "angles": self.angles,
            "guide": self.guide,
        }
        for index, (name, (title, key, tip)) in enumerate(PANELS.items()):
            self.tabs.addTab(widgets[name], title)
            self.tabs.setTabToolTip(index, f"{tip} ({key})")
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), self)
            shortcut.activated.connect(partial(self.open_panel, name))
        self.tabs.setTabVisible(list(PANELS).index("guide"), False)
        self.warning = QtWidgets.QLabel()
        self.warning.setObjectName("warning")
        self.warning.setVisible(False)
        self.tabs.setCornerWidget(self.warning)
        return self.tabs

    def _add_toolbar(self) -> None:
        bar = self.addToolBar("viewer")
        bar.setMovable(False)
        self.record_action = self._action(bar, "● Record", "R", "Record the session's measurements to a file")
        self.record_action.setCheckable(True)
        self.record_action.setEnabled(self._recording is not None)
        if self._recording is None:
            self.record_action.setToolTip("This window cannot record; use kinefuse record")
        bar.widgetForAction(self.record_action).setObjectName("record")
        self.record_action.toggled.connect(self._record)
        self.pause_action = self._action(bar, "Pause", "Space", "Freeze the display; the graph goes on")
        self.pause_action.setCheckable(True)
        self.pause_action.toggled.connect(self._pause)
        self._action(bar, "Reset view", "Home", "Whole room, whole pictures").triggered.connect(self._reset)
        bar.addSeparator()
        self.option_actions = {
            name: self._option(bar, name, text, key, tip)
            for name, text, key, tip in (
                ("reprojection", "Reprojection", "P", "The skeleton projected into the pictures"),
                ("ellipsoids", "Ellipsoids", "E", "Two-sigma uncertainty of every joint"),
                ("centre_of_mass", "Centre of mass", "M", "Of the whole body, with where it stands on the floor"),
                ("trails", "Trails", "T", "The last two seconds of head, hands and feet"),
                ("truth", "Truth", "G", "The simulator's or a reference system's own answer"),
            )
        }
        bar.addSeparator()
        group = QtGui.QActionGroup(self)
        self.answer_actions = {
            answer: self._answer(bar, group, answer, text, key, tip) for answer, text, key, tip in _ANSWER_TEXTS
        }
        self.option_actions["ghosts"] = self._option(
            bar, "ghosts", "Ghosts", "O", "The other two as thin lines, beside the one that is drawn"
        )
        self._add_radar_menu(bar)

    def _add_radar_menu(self, bar: QtWidgets.QToolBar) -> None:
        """One button for what is drawn of radars, where the profile has some; its keys work while it is closed."""
        menu = QtWidgets.QMenu(self)
        self.radar_actions = {
            name: self._radar_option(menu, name, text, key, tip) for name, text, key, tip in _RADAR_TEXTS
        }
        self.radar_button = QtWidgets.QToolButton()
        self.radar_button.setText("Radar")
        self.radar_button.setToolTip("What is drawn of radars")
        self.radar_button.setMenu(menu)
        self.radar_button.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        bar.addSeparator().setVisible(bool(self.model.rig.radars))
        bar.addWidget(self.radar_button).setVisible(bool(self.model.rig.radars))

    def _radar_option(self, menu: QtWidgets.QMenu, name: str, text: str, key: str, tip: str) -> QtGui.QAction:
        action = QtGui.QAction(text, self)
        action.setShortcut(QtGui.QKeySequence(key))
        action.setToolTip(f"{tip} ({key})")
        action.setCheckable(True)
        action.setChecked(bool(getattr(self.options.radar, name)))
        action.toggled.connect(lambda on: self._set_radar_option(name, on))
        menu.addAction(action)
        self.addAction(action)  # so that its key works while the menu is closed
        return action

    def _action(self, bar: QtWidgets.QToolBar, text: str, key: str, tip: str) -> QtGui.QAction:
        action = QtGui.QAction(text, self)
        action.setShortcut(QtGui.QKeySequence(key))
        action.setToolTip(f"{tip} ({key})")
        bar.addAction(action)
        return action

    def _option(self, bar: QtWidgets.QToolBar, name: str, text: str, key: str, tip: str) -> QtGui.QAction:
        action = self._action(bar, text, key, tip)
        action.setCheckable(True)
        action.setChecked(bool(getattr(self.options, name)))
        action.toggled.connect(lambda on: self._set_option(name, on))
        return action

    def _answer(
        self, bar: QtWidgets.QToolBar, group: QtGui.QActionGroup, answer: str, text: str, key: str, tip: str
    ) -> QtGui.QAction:
        action = self._action(bar, text, key, tip)
        action.setCheckable(True)
        action.setChecked(answer == self.options.answer)
        action.setActionGroup(group)
        action.triggered.connect(lambda: self._set_answer(answer))
        return action

    def _set_answer(self, answer: str) -> None:
        self.options = replace(self.options, answer=answer)

    def _set_option(self, name: str, on: bool) -> None:
        change: dict[str, Any] = {name: on}
        self.options = replace(self.options, **change)

    def _set_radar_option(self, name: str, on: bool) -> None:
        change: dict[str, Any] = {name: on}
        self.options = replace(self.options, radar=replace(self.options.radar, **change))

    def _add_status_bar(self) -> None:
        bar = self.statusBar()
        bar.setSizeGripEnabled(False)
        self._state_label = QtWidgets.QLabel()
        bar.addWidget(self._state_label)
        self._note_label = QtWidgets.QLabel()
        bar.addWidget(self._note_label, 1)
        self._labels = [QtWidgets.QLabel() for _ in status_texts(None, 0.0)]
        for label in self._labels:
            bar.addPermanentWidget(label)

    def _pause(self, on: bool) -> None:
        self.paused = on

    def _reset(self) -> None:
        self.scene.reset_view()
        self.panels.show_alone("")

    def _record(self, on: bool) -> None:
        """Start or stop; what went wrong is said in the status bar and the button springs back."""
        if self._recording is None:
            return
        try:
            self._note_label.setText(f"recording to {self._recording.start()}" if on else self._recording.stop())
        except OSError as error:
            self._note_label.setText(f"not recording: {error}")
            self.record_action.blockSignals(True)
            self.record_action.setChecked(False)
            self.record_action.blockSignals(False)


def status_texts(status: Status | None, fps: float) -> tuple[str, ...]:
    """Texts of the status bar's labels, left to right."""
    if status is None:
        return ("",) * 5
    latency = status.latency
    delay = "–" if not latency.count else f"p50 {latency.p50_ms:.1f} ms  p99 {latency.p99_ms:.1f} ms"
    people = "1 person" if status.people == 1 else f"{status.people} people"
    refused = f"  ({status.refused} refused)" if status.refused else ""
    return (
        f"latency {delay}",
        f"{people}  {rate_text(status.people_rate_hz)} /s",
        f"{status.records} records{refused}",
        f"display {fps:.0f} fps",
        f"session {session_time_text(status.session_s)}",
    )


def session_time_text(seconds: float) -> str:
    """``H:MM:SS.t``; a dash before the first measurement."""
    if not math.isfinite(seconds):
        return "–"
    whole, tenth = divmod(round(seconds * 10), 10)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}.{tenth}"


def open_application() -> QtWidgets.QApplication:
    """The Qt application in the viewer's look: the running one, or a new one."""
    running = QtWidgets.QApplication.instance()
    application = running if isinstance(running, QtWidgets.QApplication) else QtWidgets.QApplication(["kinefuse"])
    application.setApplicationName("Kinefuse")
    style.apply(application)
    return application
