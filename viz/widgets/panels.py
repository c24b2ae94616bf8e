"""The cameras' pictures with landmarks and the projected skeleton.

Painted directly and not through a graphics scene: with an OpenGL widget in the
same window each scene's update redraws the whole window, four cameras four
times (58 ms against 13 ms where the processor draws).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets

from fusion.records import Float32, UInt8
from viz.models.lines import Lines, Points
from viz.models.pictures import Panel, best_columns
from viz.widgets import style

BONE_WIDTH_PX = 2.4
OUTLINE_WIDTH_PX = 4.6
OUTLINE = QtGui.QColor(0, 0, 0, 150)
PAPER = QtGui.QColor("#14171f")
FRAME = QtGui.QColor("#101218")
TITLE_HEIGHT_PX = 22
LEAST_PANEL_PX = 90
SPACING_PX = 6
_OPACITY_STEPS = 5


class PanelWidget(QtWidgets.QWidget):
    """One camera: a title line, and below it the picture as large as it fits."""

    enlarged = QtCore.Signal(str)
    """The camera's name, on a double click."""

    def __init__(self, camera: str) -> None:
        super().__init__()
        self.camera = camera
        self.setMinimumSize(LEAST_PANEL_PX, LEAST_PANEL_PX)
        self.setToolTip("Double click: this camera alone, or all again")
        self._panel: Panel | None = None
        self._scaled = QtGui.QPixmap()
        self._scaled_from: tuple[UInt8, QtCore.QSize] | None = None

    def draw(self, panel: Panel) -> None:
        """Show a panel."""
        self._panel = panel
        self.update()

    def picture_rect(self) -> QtCore.QRectF:
        """Where in the widget the picture is, whole and undistorted."""
        area = QtCore.QRectF(self.rect()).adjusted(2, TITLE_HEIGHT_PX, -2, -2)
        if self._panel is None:
            return area
        size = QtCore.QSizeF(self._panel.width, self._panel.height)
        rect = QtCore.QRectF(QtCore.QPointF(0, 0), size.scaled(area.size(), QtCore.Qt.AspectRatioMode.KeepAspectRatio))
        rect.moveCenter(area.center())
        return rect

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:
        """Ask to be shown alone."""
        self.enlarged.emit(self.camera)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Frame, title, picture, overlays."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QColor(style.BORDER))
        painter.setBrush(FRAME)
        painter.drawRoundedRect(QtCore.QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
        self._paint_title(painter)
        if self._panel is not None:
            rect = self.picture_rect()
            self._paint_picture(painter, rect, self._panel.picture)
            painter.setClipRect(rect)
            scale = rect.width() / self._panel.width
            origin = np.array([rect.x(), rect.y()], np.float32)
            _paint_lines(painter, self._panel.reprojection, scale, origin)
            _paint_points(painter, self._panel.landmarks, scale, origin)
        painter.end()

    def _paint_title(self, painter: QtGui.QPainter) -> None:
        line = QtCore.QRect(8, 0, self.width() - 16, TITLE_HEIGHT_PX)
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QtGui.QColor(style.TEXT))
        painter.drawText(line, QtCore.Qt.AlignmentFlag.AlignVCenter, self.camera)
        font.setBold(False)
        painter.setFont(font)
        painter.setPen(QtGui.QColor(style.MUTED))
        note = panel_note(self._panel) if self._panel else ""
        painter.drawText(line, QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignRight, note)

    def _paint_picture(self, painter: QtGui.QPainter, rect: QtCore.QRectF, picture: UInt8 | None) -> None:
        if picture is None:
            painter.fillRect(rect, PAPER)
            return
        size = (rect.size() * self.devicePixelRatioF()).toSize()
        if self._scaled_from is None or self._scaled_from[0] is not picture or self._scaled_from[1] != size:
            image = QtGui.QImage(
                picture.data, picture.shape[1], picture.shape[0], picture.strides[0], QtGui.QImage.Format.Format_RGB888
            )
            smooth = QtCore.Qt.TransformationMode.SmoothTransformation
            stretched = image.scaled(size, QtCore.Qt.AspectRatioMode.IgnoreAspectRatio, smooth)
            self._scaled, self._scaled_from = QtGui.QPixmap.fromImage(stretched), (picture, size)
        painter.drawPixmap(rect, self._scaled, QtCore.QRectF(self._scaled.rect()))


def panel_note(panel: Panel) -> str:
    """What stands at the right of the title."""
    if panel.picture is not None:
        return f"{panel.picture_s:.2f} s"
    return "landmarks only" if len(panel.landmarks.positions) else "no picture yet"


def _paint_lines(painter: QtGui.QPainter, lines: Lines, scale: float, origin: Float32) -> None:
    """Bones over a dark outline."""
    segments = [QtCore.QLineF(*ends) for ends in (lines.ends * scale + origin).reshape(-1, 4).tolist()]
    painter.setPen(_pen(OUTLINE, OUTLINE_WIDTH_PX))
    painter.drawLines(segments)
    for rgba, chosen in _by_colour(lines.colours):
        painter.setPen(_pen(style.qcolour(rgba), BONE_WIDTH_PX))
        painter.drawLines([segments[index] for index in chosen])


def _paint_points(painter: QtGui.QPainter, points: Points, scale: float, origin: Float32) -> None:
    """Landmarks over a dark outline."""
    places = [QtCore.QPointF(*place) for place in (points.positions * scale + origin).tolist()]
    for rgba, chosen in _by_colour(points.colours):
        size_px = float(points.sizes_px[chosen[0]])
        some = [places[index] for index in chosen]
        for colour, width_px in ((OUTLINE, size_px + 2.0), (style.qcolour(rgba), size_px)):
            painter.setPen(_pen(colour, width_px))
            painter.drawPoints(some)


def _pen(colour: QtGui.QColor, width_px: float) -> QtGui.QPen:
    pen = QtGui.QPen(colour, width_px)
    pen.setCapStyle(QtCore.Qt.PenCapStyle.RoundCap)
    return pen


def _by_colour(tints: Float32) -> list[tuple[tuple[float, ...], list[int]]]:
    """Indices of each colour; opacity in steps, so that there are few."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for index, (red, green, blue, opacity) in enumerate(tints.tolist()):
        step = round(opacity * _OPACITY_STEPS) / _OPACITY_STEPS
        groups.setdefault((red, green, blue, step), []).append(index)
    return list(groups.items())


class PanelGrid(QtWidgets.QWidget):
    """All cameras, in as many columns as make the pictures largest."""

    def __init__(self) -> None:
        super().__init__()
        self.panels: dict[str, PanelWidget] = {}
        self._aspects: dict[str, float] = {}
        self._alone = ""

    def draw(self, panels: Sequence[Panel]) -> None:
        """Show every camera's panel."""
        aspects = {panel.camera: panel.width / panel.height for panel in panels}
        for panel in panels:
            if panel.camera not in self.panels:
                self._add(panel.camera)
            self.panels[panel.camera].draw(panel)
        if aspects != self._aspects:
            self._aspects = aspects
            self._arrange()

    def show_alone(self, camera: str) -> None:
        """One camera in the whole area; all again if it is alone already, or with an empty name."""
        self._alone = "" if camera == self._alone else camera
        self._arrange()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        """Arrange again."""
        super().resizeEvent(event)
        self._arrange()

    def _add(self, camera: str) -> None:
        panel = self.panels[camera] = PanelWidget(camera)
        panel.setParent(self)
        panel.enlarged.connect(self.show_alone)

    def _arrange(self) -> None:
        shown = [camera for camera in self._aspects if self._alone in ("", camera)]
        for camera, panel in self.panels.items():
            panel.setVisible(camera in shown)
        if not shown:
            return
        width, height = self.width() - SPACING_PX, self.height() - SPACING_PX
        extra = SPACING_PX + TITLE_HEIGHT_PX
        columns = best_columns([self._aspects[camera] for camera in shown], width, height, SPACING_PX, extra)
        rows = -(-len(shown) // columns)
        cell_width, cell_height = width // columns, height // rows
        for index, camera in enumerate(shown):
            self.panels[camera].setGeometry(
                SPACING_PX + index % columns * cell_width,
                SPACING_PX + index // columns * cell_height,
                cell_width - SPACING_PX,
                cell_height - SPACING_PX,
            )
