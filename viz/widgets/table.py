"""The health table."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6 import QtCore, QtGui, QtWidgets

from viz.models.health import Level, Row, age_text, rate_text
from viz.widgets import style

HEADERS = ("node", "state", "restarts", "stream", "rate /s", "age", "count", "drops", "errors", "node's own figures")
WIDTHS_PX = (92, 96, 72, 182, 66, 78, 78, 62, 64)
ROW_HEIGHT_PX = 21
_NUMBERS = frozenset({2, 4, 5, 6, 7, 8})
_COLOURS = {Level.FINE: style.TEXT, Level.WARNING: style.WARNING, Level.FAULT: style.FAULT}
_RIGHT = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
_ARROWS = {"out": "→ ", "in": "← ", "": ""}


def cells(row: Row, repeated: bool) -> tuple[tuple[str, str], ...]:
    """Text and colour of each column; a node's name and state stand on its first row only."""
    plain = style.TEXT
    state_colour = _COLOURS[row.node_level] if row.node_level else style.FINE
    stream = _ARROWS.get(row.direction, "") + row.topic
    no_stream = not row.topic
    return (
        ("" if repeated else row.node, plain),
        ("" if repeated else f"● {row.state}", state_colour),
        ("" if repeated else str(row.restarts), style.WARNING if row.restarts else style.MUTED),
        (stream, style.MUTED if row.direction == "in" else plain),
        (rate_text(row.rate_hz), plain),
        (age_text(row.age_s), _COLOURS[row.age_level]),
        ("–" if no_stream else str(row.count), style.MUTED),
        ("–" if no_stream else str(row.drops), _COLOURS[row.drops_level] if row.drops else style.MUTED),
        ("–" if no_stream else str(row.errors), _COLOURS[row.errors_level] if row.errors else style.MUTED),
        (row.figures, style.MUTED),
    )


class HealthTable(QtWidgets.QTableWidget):
    """Rows of ``HealthModel``."""

    def __init__(self) -> None:
        super().__init__(0, len(HEADERS))
        self.setHorizontalHeaderLabels(HEADERS)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT_PX)
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        header = self.horizontalHeader()
        header.setStretchLastSection(True)
        header.setDefaultAlignment(QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter)
        header.setHighlightSections(False)
        for column in _NUMBERS:
            title = QtWidgets.QTableWidgetItem(HEADERS[column])
            title.setTextAlignment(_RIGHT)
            self.setHorizontalHeaderItem(column, title)
        for column, width in enumerate(WIDTHS_PX):
            self.setColumnWidth(column, width)

    def draw(self, rows: Sequence[Row]) -> None:
        """Show the rows, changing only cells that have changed."""
        if self.rowCount() != len(rows):
            self.setRowCount(len(rows))
        previous = ""
        for index, row in enumerate(rows):
            for column, (text, colour) in enumerate(cells(row, row.node == previous)):
                self._set(index, column, text, colour)
            previous = row.node

    def _set(self, row: int, column: int, text: str, colour: str) -> None:
        item = self.item(row, column)
        if item is None:
            item = QtWidgets.QTableWidgetItem()
            if column in _NUMBERS:
                item.setTextAlignment(_RIGHT)
            self.setItem(row, column, item)
        if item.text() != text:
            item.setText(text)
            item.setToolTip(text)
        if item.data(QtCore.Qt.ItemDataRole.UserRole) != colour:
            item.setData(QtCore.Qt.ItemDataRole.UserRole, colour)
            item.setForeground(QtGui.QColor(colour))
