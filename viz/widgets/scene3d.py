"""The room in three dimensions: floor, cameras, radars, skeletons, points."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyqtgraph.opengl as gl
from OpenGL.GL import GL_DEPTH_TEST
from PySide6 import QtCore, QtGui, QtWidgets

from viz.models import colours
from viz.models.fixtures import Fixtures, Label, floor_lines
from viz.models.lines import Lines, Points
from viz.models.options import ANSWERS, ViewOptions
from viz.models.people import Shown
from viz.models.scene import SceneDrawing
from viz.widgets import style

BONE_WIDTH_PX = 5.0
THIN_WIDTH_PX = 1.6
FIXTURE_WIDTH_PX = 1.4
FIELD_WIDTH_PX = 1.0
LABEL_GAP_PX = 14
FIELD_OF_VIEW_DEG = 45.0
"""From left to right, in a view that is not wider than ``FRAMED_ASPECT``; in a wider one, as much from top to bottom
as in that one."""
FRAMED_ASPECT = 1.4
ELEVATION_DEG = 16.0
AZIMUTH_DEG = -62.0
LOOK_AT_HEIGHT_M = 0.95
DISTANCE_PER_HALF_FLOOR = 1.55
LEAST_DISTANCE_M = 4.2
PEOPLE_DISTANCE_SHARE = 0.72
"""How much nearer the view starts when it starts at people."""

LEGEND = (
    "<span style='color:{measured}'>●</span> bright: measured &nbsp; "
    "<span style='color:{inferred}'>●</span> pale: inferred"
    "{ellipsoids}{mass}{radar}"
)
SPEED_STEPS = 9
"""Squares of the legend's scale of radial speeds."""


class SceneView(QtWidgets.QWidget):
    """The 3-D scene, or a message in its place where there is no OpenGL."""

    def __init__(self, fixtures: Fixtures, message: str = "") -> None:
        """Set up the scene.

        Args:
            fixtures: what does not move.
            message: why there is no OpenGL; empty where there is.
        """
        super().__init__()
        self._fixtures = fixtures
        self.view: Any = None
        self._people_at: tuple[float, float] | None = None
        self._looked_at_people = False
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        if message:
            layout.addWidget(_message_label(message))
            return
        self.view = gl.GLViewWidget()
        self.view.setBackgroundColor(style.qcolour(colours.BACKGROUND))
        self.view.setMinimumSize(240, 180)
        layout.addWidget(self.view)
        self._floor, self._fixed = _line_item(1.0), _line_item(FIXTURE_WIDTH_PX)
        self._fields = _line_item(FIELD_WIDTH_PX)
        self._thin, self._bones = _line_item(THIN_WIDTH_PX), _line_item(BONE_WIDTH_PX)
        self._points, self._joints = _dot_item(on_top=False), _dot_item(on_top=True)
        self._marks = _dot_item(on_top=True)
        lines = (self._floor, self._fixed, self._fields, self._thin)
        for item in (*lines, self._points, self._bones, self._joints, self._marks):
            self.view.addItem(item)
        self._draw_fixtures()
        self._labels = [_name_label(label, self) for label in fixtures.labels]
        self._moving_labels: list[QtWidgets.QLabel] = []
        self._legend, self._answer = _overlay_label("scale", self), _overlay_label("answer", self)
        self.reset_view()

    def draw(self, drawing: SceneDrawing, options: ViewOptions) -> None:
        """Show the moving part, and say what it is."""
        if self.view is None:
            return
        _set_lines(self._bones, drawing.bones)
        _set_lines(self._thin, drawing.thin)
        _set_points(self._joints, drawing.joints)
        _set_points(self._marks, drawing.marks)
        _set_points(self._points, drawing.points)
        _say(self._answer, answer_text(drawing.shown))
        self._fields.setVisible(options.radar.fields and bool(len(self._fixtures.fields.ends)))
        _say(self._legend, legend_text(options, drawing.radar_kinds))
        self._place_legend()
        self._people_at = drawing.centre_m
        if self._people_at is not None and not self._looked_at_people:
            self._looked_at_people = True
            self.reset_view()
        self._place_labels(drawing.labels)

    def reset_view(self) -> None:
        """Look at the people from a corner of the room, or at its middle without any."""
        if self.view is None:
            return
        distance_m = max(LEAST_DISTANCE_M, DISTANCE_PER_HALF_FLOOR * self._fixtures.half_floor_m)
        if self._people_at is not None:
            distance_m = max(LEAST_DISTANCE_M, PEOPLE_DISTANCE_SHARE * distance_m)
        x, y = self._people_at or self._fixtures.floor_centre_m
        self._fit_width()
        self.view.setCameraPosition(
            pos=QtGui.QVector3D(x, y, LOOK_AT_HEIGHT_M),
            distance=distance_m,
            elevation=ELEVATION_DEG,
            azimuth=AZIMUTH_DEG,
        )

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        """Keep the legend in its corner, and people in the picture."""
        super().resizeEvent(event)
        if self.view is not None:
            self._fit_width()
            self._place_legend()

    def _fit_width(self) -> None:
        self.view.setCameraParams(fov=field_of_view_deg(self.width() / max(1, self.height())))

    def _place_legend(self) -> None:
        self._legend.move(4, self.height() - self._legend.height() - 4)

    def _draw_fixtures(self) -> None:
        _set_lines(self._floor, floor_lines(self._fixtures.floor_centre_m, self._fixtures.half_floor_m))
        _set_lines(self._fixed, self._fixtures.lines)
        _set_lines(self._fields, self._fixtures.fields)

    def _place_labels(self, moving: Sequence[Label]) -> None:
        """Move the names to where their owners appear; hide those behind the viewer.

        pyqtgraph's own text item paints with Qt on the OpenGL surface, which leaves nothing in a grabbed picture.
        """
        width, height = self.view.width(), self.view.height()
        viewport = (0, 0, width, height)
        clip_from_world = self.view.projectionMatrix(viewport, viewport) * self.view.viewMatrix()
        while len(self._moving_labels) < len(moving):
            self._moving_labels.append(_name_label(moving[len(self._moving_labels)], self))
        for widget in self._moving_labels[len(moving) :]:
            widget.hide()
        for label, widget in zip(moving, self._moving_labels, strict=False):
            _rename(widget, label)
        labels = (*self._fixtures.labels, *moving)
        for label, widget in zip(labels, (*self._labels, *self._moving_labels), strict=False):
            x, y, z = map(float, label.position_m)
            clip = clip_from_world.map(QtGui.QVector4D(x, y, z, 1.0))
            widget.setVisible(clip.w() > 0.0)
            if clip.w() > 0.0:
                column = (clip.x() / clip.w() + 1.0) * width / 2.0
                row = (1.0 - clip.y() / clip.w()) * height / 2.0
                widget.move(round(column) - widget.width() // 2, round(row) - widget.height() - LABEL_GAP_PX)


def _line_item(width_px: float) -> Any:
    item = gl.GLLinePlotItem(mode="lines", width=width_px, antialias=True, glOptions="translucent")
    item.setVisible(False)
    return item


def _dot_item(*, on_top: bool) -> Any:
    options = {**gl.GLGraphicsItem.GLOptions["translucent"], GL_DEPTH_TEST: not on_top}
    item = gl.GLScatterPlotItem(pxMode=True, glOptions=options)
    item.setVisible(False)
    return item


def _set_lines(item: Any, lines: Lines) -> None:
    """An item without segments is hidden: an empty buffer is an error to some drivers."""
    item.setVisible(bool(len(lines.ends)))
    if len(lines.ends):
        positions, tints = lines.vertices()
        item.setData(pos=positions, color=tints)


def _set_points(item: Any, points: Points) -> None:
    item.setVisible(bool(len(points.positions)))
    if len(points.positions):
        item.setData(pos=points.positions, color=points.colours, size=points.sizes_px)


def _message_label(message: str) -> QtWidgets.QLabel:
    label = QtWidgets.QLabel("The 3-D view cannot be drawn.\n\n" + message)
    label.setObjectName("message")
    label.setWordWrap(True)
    label.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
    return label


def _name_label(label: Label, parent: QtWidgets.QWidget) -> QtWidgets.QLabel:
    widget = QtWidgets.QLabel(label.text, parent)
    widget.setObjectName("legend")
    widget.setStyleSheet(f"color: {colours.hexadecimal(label.colour)}; padding: 0;")
    widget.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    widget.adjustSize()
    return widget


def _rename(widget: QtWidgets.QLabel, label: Label) -> None:
    """Give a name's widget to another owner, or change what it says."""
    sheet = f"color: {colours.hexadecimal(label.colour)}; padding: 0;"
    if widget.styleSheet() != sheet:
        widget.setStyleSheet(sheet)
    if widget.text() != label.text:
        widget.setText(label.text)
        widget.adjustSize()


def legend_text(options: ViewOptions, radar_kinds: Collection[str] = ()) -> str:
    """What the colours mean; of radars, what is drawn of them (``viz.models.radar.KINDS``)."""
    inferred = colours.part_colours(colours.PEOPLE[0], np.zeros(1, dtype=bool))[0, :3]
    return LEGEND.format(
        measured=colours.hexadecimal(colours.PEOPLE[0]),
        inferred=style.qcolour(tuple(inferred)).name(),
        ellipsoids=" &nbsp;&nbsp; ellipsoids: 2 σ" if options.ellipsoids else "",
        mass=" &nbsp;&nbsp; ◉ centre of mass" if options.centre_of_mass else "",
        radar="".join(f"<br>{text}" for text in radar_legend(radar_kinds)),
    )


def radar_legend(kinds: Collection[str]) -> list[str]:
    """Lines: the scale of radial speeds, what arrows and dashes of tracks mean, what the size of a joint means."""
    texts = []
    if "points" in kinds:
        limit_m_s = colours.DOPPLER_LIMIT_M_S
        steps = colours.doppler_colours(np.linspace(-limit_m_s, limit_m_s, SPEED_STEPS))
        scale = "".join(f"<span style='color:{style.qcolour(tuple(tint)).name()}'>■</span>" for tint in steps)
        texts.append(f"radar: approaching −{limit_m_s:g} {scale} +{limit_m_s:g} m/s receding")
    if "tracks" in kinds:
        texts.append("tracks: arrow 1 s ahead · dashed: still, no points · faint: not sure yet")
    if "joints" in kinds:
        tint = colours.hexadecimal(colours.RADAR)
        texts.append(f"<span style='color:{tint}'>●</span> joints by radar: small and bright where sure")
    return texts


def field_of_view_deg(aspect: float) -> float:
    """Field of view from left to right of a view so many times wider than high."""
    half = math.tan(math.radians(FIELD_OF_VIEW_DEG / 2.0)) * max(1.0, aspect / FRAMED_ASPECT)
    return 2.0 * math.degrees(math.atan(half))


def answer_text(shown: Sequence[Shown]) -> str:
    """Which answer is drawn, and the ghosts in their colours; empty where only ``people`` are."""
    if not shown or (len(shown) == 1 and shown[0].answer == ANSWERS[0]):
        return ""
    drawn, *ghosts = shown
    texts = [f"<b>{drawn.answer}</b>{offset_text(drawn.offset_s)}"]
    texts += [
        f"<span style='color:{colours.hexadecimal(colours.GHOSTS[ghost.answer])}'>—</span> "
        f"{ghost.answer}{offset_text(ghost.offset_s)}"
        for ghost in ghosts
    ]
    return " &nbsp;&nbsp; ".join(texts)


def offset_text(offset_s: float) -> str:
    """`` 100 ms before``, in words that need no sign; empty where nothing is known or there is none."""
    milliseconds = round(1e3 * offset_s) if math.isfinite(offset_s) else 0
    if not milliseconds:
        return ""
    return f", {abs(milliseconds)} ms {'ahead' if milliseconds > 0 else 'before'}"


def _overlay_label(name: str, parent: QtWidgets.QWidget) -> QtWidgets.QLabel:
    label = QtWidgets.QLabel(parent)
    label.setObjectName(name)
    label.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    label.move(6, 6)
    label.hide()
    return label


def _say(label: QtWidgets.QLabel, text: str) -> None:
    if label.text() != text:
        label.setText(text)
        label.adjustSize()
        label.setVisible(bool(text))
        label.raise_()
