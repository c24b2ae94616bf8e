"""The panel of clinical angles: who and which joints, their last seconds, the numbers.

The diagrams are painted directly, as the cameras' panels are: a plot in a
graphics scene would redraw the whole window beside an OpenGL widget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets

from fusion.records import Float64
from viz.models.angles import JOINTS, AnglesDrawing, Axes, Curve, degrees_text
from viz.models.colours import SIDES, hexadecimal, part_colours
from viz.models.options import AngleOptions
from viz.widgets import style
from viz.widgets.table import NumberTable

CURVE_WIDTH_PX = 1.8
BEST_ASPECT = 1.5
"""Width over height that a diagram should have."""
BUTTON_COLUMNS = 3
CHOICE_WIDTH_PX, NUMBERS_WIDTH_PX = 216, 390
SPACING_PX, LEFT_PX, TOP_PX, BOTTOM_PX = 8, 34, 26, 17
TIME_STEP_S = 5.0
_LEFT = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter
_RIGHT = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
_CENTRE = QtCore.Qt.AlignmentFlag.AlignCenter


class AnglesPanel(QtWidgets.QWidget):
    """What ``AnglesModel`` gives for the choice that is made here."""

    def __init__(self) -> None:
        super().__init__()
        self.options = AngleOptions()
        self.person = QtWidgets.QComboBox()
        self.person.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.person.setToolTip("Whose angles")
        self.person.activated.connect(self._choose_person)
        self.joints = {joint.name: self._joint_button(joint.name) for joint in JOINTS}
        self.plots, self.numbers = PlotGrid(), NumberTable()
        self._people: tuple[tuple[tuple[str, int], str], ...] = ()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(SPACING_PX, SPACING_PX, 0, 0)
        layout.addWidget(self._choice())
        layout.addWidget(self.plots, 1)
        layout.addWidget(self.numbers)
        self.numbers.setFixedWidth(NUMBERS_WIDTH_PX)

    def draw(self, drawing: AnglesDrawing) -> None:
        """Show the panel."""
        if drawing.people != self._people:
            self._people = drawing.people
            self.person.clear()
            self.person.addItems([text for _, text in drawing.people])
        keys = [key for key, _ in drawing.people]
        if drawing.person in keys:
            self.person.setCurrentIndex(keys.index(drawing.person))
        self.plots.draw(drawing.axes, drawing.message)
        self.numbers.draw(drawing.numbers)

    def _choice(self) -> QtWidgets.QWidget:
        choice = QtWidgets.QWidget()
        choice.setFixedWidth(CHOICE_WIDTH_PX)
        grid = QtWidgets.QGridLayout(choice)
        grid.setContentsMargins(0, 0, 0, SPACING_PX)
        grid.setSpacing(4)
        grid.addWidget(self.person, 0, 0, 1, BUTTON_COLUMNS)
        for index, button in enumerate(self.joints.values()):
            grid.addWidget(button, 1 + index // BUTTON_COLUMNS, index % BUTTON_COLUMNS)
        grid.addWidget(_legend(), grid.rowCount(), 0, 1, BUTTON_COLUMNS)
        grid.setRowStretch(grid.rowCount(), 1)
        return choice

    def _joint_button(self, name: str) -> QtWidgets.QPushButton:
        button = QtWidgets.QPushButton(name)
        button.setObjectName("joint")
        button.setCheckable(True)
        button.setChecked(name in self.options.joints)
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        button.toggled.connect(self._choose_joints)
        return button

    def _choose_joints(self, _on: bool) -> None:
        chosen = tuple(name for name, button in self.joints.items() if button.isChecked())
        self.options = replace(self.options, joints=chosen)

    def _choose_person(self, index: int) -> None:
        self.options = replace(self.options, person=self._people[index][0])


def _legend() -> QtWidgets.QLabel:
    sides = [f"<span style='color:{hexadecimal(SIDES[side])}'>—</span> {side}" for side in ("right", "left")]
    label = QtWidgets.QLabel(" &nbsp;&nbsp; ".join([*sides, "pale: inferred"]))
    label.setObjectName("legend")
    return label


class PlotGrid(QtWidgets.QWidget):
    """Diagrams side by side, as many in a row as gives them a good shape."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumSize(160, 90)
        self._axes: Sequence[Axes] = ()
        self._message = ""

    def draw(self, axes: Sequence[Axes], message: str) -> None:
        """Show the diagrams, or a message in their place."""
        self._axes, self._message = axes, message
        self.update()

    def plot_rects(self) -> list[QtCore.QRectF]:
        """Where the curves of each diagram are."""
        count = max(1, len(self._axes))
        columns = plot_columns(count, self.width(), self.height())
        width, height = self.width() / columns, self.height() / -(-count // columns)
        return [
            QtCore.QRectF(index % columns * width, index // columns * height, width, height).adjusted(
                LEFT_PX, TOP_PX, -SPACING_PX, -BOTTOM_PX
            )
            for index in range(len(self._axes))
        ]

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Every diagram, or the message."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        if self._message:
            painter.setPen(QtGui.QColor(style.MUTED))
            painter.drawText(self.rect(), _CENTRE, self._message)
        for axes, rect in zip(self._axes, self.plot_rects(), strict=True):
            _paint_title(painter, axes, rect)
            _paint_grid(painter, axes, rect)
            painter.setClipRect(rect)
            for curve in axes.curves:
                _paint_curve(painter, curve, axes, rect)
            painter.setClipping(False)
        painter.end()


def plot_columns(count: int, width: float, height: float) -> int:
    """In how many columns the diagrams come nearest to ``BEST_ASPECT``."""

    def strain(columns: int) -> float:
        rows = -(-count // columns)
        return abs(math.log(max(width / columns, 1.0) / max(height / rows, 1.0) / BEST_ASPECT))

    return min(range(1, count + 1), key=strain)


def across(times_s: Float64, axes: Axes, rect: QtCore.QRectF) -> Float64:
    """Columns (px) of some times."""
    return np.asarray(rect.left() + (times_s / axes.window_s + 1.0) * rect.width())


def down(degrees: Float64, axes: Axes, rect: QtCore.QRectF) -> Float64:
    """Rows (px) of some angles."""
    return np.asarray(rect.bottom() - (degrees - axes.low_deg) / (axes.high_deg - axes.low_deg) * rect.height())


def _paint_title(painter: QtGui.QPainter, axes: Axes, rect: QtCore.QRectF) -> None:
    """The angle's name and unit in bold; what a positive value means beside it, where there is room."""
    line = QtCore.QRectF(rect.left() - LEFT_PX + 4, rect.top() - TOP_PX, rect.width() + LEFT_PX - 4, TOP_PX - 8)
    font = painter.font()
    for text, colour, bold in ((f"{axes.title}, deg", style.TEXT, True), (f"+ {axes.positive}", style.MUTED, False)):
        font.setBold(bold)
        painter.setFont(font)
        width_px = painter.fontMetrics().horizontalAdvance(text)
        if bold or width_px <= line.width():
            painter.setPen(QtGui.QColor(colour))
            painter.drawText(line, _LEFT, text)
        line.setLeft(line.left() + width_px + 8)


def _paint_grid(painter: QtGui.QPainter, axes: Axes, rect: QtCore.QRectF) -> None:
    for degrees, y in zip(axes.ticks_deg, down(np.array(axes.ticks_deg), axes, rect).tolist(), strict=True):
        painter.setPen(QtGui.QColor(style.MUTED if degrees == 0 else style.BORDER))
        painter.drawLine(QtCore.QPointF(rect.left(), y), QtCore.QPointF(rect.right(), y))
        painter.setPen(QtGui.QColor(style.MUTED))
        label = QtCore.QRectF(rect.left() - LEFT_PX, y - 8, LEFT_PX - 5, 16)
        painter.drawText(label, _RIGHT, degrees_text(degrees, 0))
    times_s = -TIME_STEP_S * np.arange(int(axes.window_s / TIME_STEP_S) + 1, dtype=np.float64)
    for time_s, x in zip(times_s.tolist(), across(times_s, axes, rect).tolist(), strict=True):
        painter.setPen(QtGui.QColor(style.BORDER))
        painter.drawLine(QtCore.QPointF(x, rect.top()), QtCore.QPointF(x, rect.bottom()))
        painter.setPen(QtGui.QColor(style.MUTED))
        label = QtCore.QRectF(x - 30, rect.bottom() + 1, 60, BOTTOM_PX - 2)
        label.moveLeft(max(label.left(), rect.left()))
        label.moveRight(min(label.right(), rect.right() + 2))
        align = _RIGHT if time_s == 0 else _LEFT if x < rect.left() + 1 else _CENTRE
        painter.drawText(label, align, "now" if time_s == 0 else f"{time_s:g} s")


def _paint_curve(painter: QtGui.QPainter, curve: Curve, axes: Axes, rect: QtCore.QRectF) -> None:
    """Measured parts in full, inferred parts paler and thinner."""
    tints = part_colours(curve.colour, np.array([False, True]))
    for piece in curve.pieces:
        width_px = CURVE_WIDTH_PX if piece.measured else 0.6 * CURVE_WIDTH_PX
        painter.setPen(QtGui.QPen(style.qcolour(tuple(tints[int(piece.measured)])), width_px))
        places = np.c_[across(piece.times_s, axes, rect), down(piece.degrees, axes, rect)].tolist()
        points = [QtCore.QPointF(*pair) for pair in places]
        if len(points) > 1:
            painter.drawPolyline(points)
        else:
            painter.drawPoints(points)
