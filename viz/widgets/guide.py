"""The panel of a guided calibration: large enough to be read by somebody who stands in a T-pose."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

from viz.models.guide import GuideView, SensorBar
from viz.models.health import Level
from viz.widgets import style

ROW_PX = 18
NAME_PX = 110
BAR_PX = 90
COLUMN_PX = 290
_STEPS = 1000
_COLOURS = {Level.FINE: style.FINE, Level.WARNING: style.WARNING, Level.FAULT: style.FAULT}


class GuidePanel(QtWidgets.QWidget):
    """What to do, how far it is, and a bar for each sensor."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.instruction, self.message = QtWidgets.QLabel(), QtWidgets.QLabel(), QtWidgets.QLabel()
        self.progress, self.bars = QtWidgets.QProgressBar(), SensorBars()
        self.title.setStyleSheet(f"color: {style.MUTED}; font-size: 15px;")
        self.instruction.setStyleSheet("font-size: 22px; font-weight: bold;")
        for label in (self.instruction, self.message):
            label.setWordWrap(True)
            # The words come from the graph: they are shown, not interpreted.
            label.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.progress.setRange(0, _STEPS)
        self.progress.setTextVisible(False)
        self.progress.setStyleSheet(f"QProgressBar::chunk {{ background: {style.ACCENT}; }}")
        column = QtWidgets.QVBoxLayout()
        for widget in (self.title, self.instruction, self.progress, self.message):
            column.addWidget(widget)
        column.addStretch(1)
        row = QtWidgets.QHBoxLayout(self)
        row.addLayout(column, 3)
        row.addWidget(self.bars, 2)

    def draw(self, view: GuideView | None) -> None:
        """Show a view; a word where there is none."""
        if view is None:
            self.title.setText("No calibration is guided: kinefuse calibrate imu PROFILE --graph GRAPH")
            return
        for label, text in (
            (self.title, view.title),
            (self.instruction, view.instruction),
            (self.message, view.message),
        ):
            if label.text() != text:
                label.setText(text)
        self.message.setStyleSheet(f"color: {_COLOURS[view.level] if view.level else style.WARNING}; font-size: 15px;")
        self.progress.setValue(round(_STEPS * view.progress))
        self.bars.draw(view.bars)


class SensorBars(QtWidgets.QWidget):
    """A row for each sensor: name, how much it moves, quality; the mark in the middle is the bound of stillness."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: tuple[SensorBar, ...] = ()
        self.setMinimumWidth(COLUMN_PX)

    def draw(self, bars: tuple[SensorBar, ...]) -> None:
        """Show bars."""
        if bars != self.shown:
            self.shown = bars
            self.update()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Rows from top to bottom, in as many columns as they need."""
        painter = QtGui.QPainter(self)
        rows = max(self.height() // ROW_PX, 1)
        for index, bar in enumerate(self.shown):
            self._paint_row(painter, bar, index // rows * COLUMN_PX, index % rows * ROW_PX)
        painter.end()

    def _paint_row(self, painter: QtGui.QPainter, bar: SensorBar, x: int, y: int) -> None:
        middle = QtCore.Qt.AlignmentFlag.AlignVCenter
        painter.setPen(QtGui.QColor(style.TEXT))
        painter.drawText(QtCore.QRect(x, y, NAME_PX, ROW_PX), middle, bar.name)
        track = QtCore.QRect(x + NAME_PX, y + 4, BAR_PX, ROW_PX - 8)
        painter.fillRect(track, QtGui.QColor(style.RAISED))
        filled = QtCore.QRect(track.x(), track.y(), round(bar.share * track.width()), track.height())
        painter.fillRect(filled, QtGui.QColor(_COLOURS[bar.level]))
        painter.setPen(QtGui.QColor(style.MUTED))
        painter.drawLine(track.center().x(), track.top(), track.center().x(), track.bottom())
        painter.setPen(QtGui.QColor(_COLOURS[bar.level]))
        painter.drawText(QtCore.QRect(x + NAME_PX + BAR_PX + 8, y, COLUMN_PX, ROW_PX), middle, bar.text)
