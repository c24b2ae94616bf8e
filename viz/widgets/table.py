"""Tables of texts: streams and nodes, sources of measurements, angles."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PySide6 import QtCore, QtGui, QtWidgets

from viz.models.angles import Number, degrees_text
from viz.models.colours import hexadecimal
from viz.models.health import Level, Row, age_text, number_text, rate_text
from viz.models.honesty import SourceRow, ratio_text, share_text
from viz.models.inertial import SensorRow, mounting_text, sigma_text
from viz.models.radar_figures import RadarRow, lost_text, moving_text
from viz.widgets import style

Cell = tuple[str, str]
"""Text and colour."""

HEADERS = ("node", "state", "restarts", "stream", "rate /s", "age", "count", "drops", "errors", "node's own figures")
WIDTHS_PX = (92, 96, 72, 182, 66, 78, 78, 62, 64)
_NUMBERS = frozenset({2, 4, 5, 6, 7, 8})
SOURCE_HEADERS = (
    "source",
    "of",
    "person",
    "real / claimed error",
    "normalised square",
    "observations",
    "gated",
    "verdict",
)
SOURCE_WIDTHS_PX = (150, 64, 62, 140, 132, 98, 68)
_SOURCE_NUMBERS = frozenset({2, 3, 4, 5, 6})
SENSOR_HEADERS = ("inertial sensor", "rate /s", "motion", "magnetic field", "heading ±", "mounting error")
SENSOR_WIDTHS_PX = (118, 58, 62, 106, 78)
_SENSOR_NUMBERS = frozenset({1, 4, 5})
RADAR_HEADERS = ("radar", "frames /s", "age", "points", "moving", "lost", "node's figures")
RADAR_WIDTHS_PX = (84, 70, 62, 56, 62, 86)
_RADAR_NUMBERS = frozenset({1, 2, 3, 4, 5})
ANGLE_HEADERS = ("angle", "side", "deg now", "least", "most")
ANGLE_WIDTHS_PX = (146, 52, 66, 54)
_ANGLE_NUMBERS = frozenset({2, 3, 4})
ROW_HEIGHT_PX = 21
SENSORS_WIDTH_PX = 540
TABLE_EXTRA_PX = 8
UNBOUNDED_PX = 16_777_215
"""The largest size that Qt knows."""
_COLOURS = {Level.FINE: style.TEXT, Level.WARNING: style.WARNING, Level.FAULT: style.FAULT}
_RIGHT = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
_ARROWS = {"out": "→ ", "in": "← ", "": ""}


def cells(row: Row, repeated: bool) -> tuple[Cell, ...]:
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
        (row.figures, _COLOURS[row.figures_level] if row.figures_level else style.MUTED),
    )


def source_cells(row: SourceRow) -> tuple[Cell, ...]:
    """Text and colour of each column; a source that understates its errors stands out by its name and in words."""
    marked = _COLOURS[row.level]
    return (
        (row.source, marked),
        (row.node, style.MUTED),
        (str(row.person), style.MUTED),
        (ratio_text(row.ratio), marked),
        (number_text(row.normalised_square), style.MUTED),
        (str(row.observations), style.TEXT),
        (share_text(row.gated_share), _COLOURS[row.gated_level]),
        (row.verdict, marked if row.level else style.MUTED),
    )


def sensor_cells(row: SensorRow) -> tuple[Cell, ...]:
    """Text and colour of each column; a field that is disturbed and a mounting that cannot be stand out."""
    muted_field = row.field_level == Level.FINE
    return (
        (row.sensor, style.TEXT),
        (rate_text(row.rate_hz), style.MUTED),
        (row.motion, style.MUTED if row.motion == "moves" else style.TEXT),
        (row.field, style.MUTED if muted_field else _COLOURS[row.field_level]),
        (sigma_text(row.heading_sigma_deg), style.TEXT),
        (mounting_text(row.mounting_deg, row.mounting_sigma_deg), _COLOURS[row.mounting_level]),
    )


def radar_cells(row: RadarRow) -> tuple[Cell, ...]:
    """Text and colour of each column; a radar that is silent or loses frames stands out."""
    return (
        (row.radar, style.TEXT),
        (rate_text(row.rate_hz), style.TEXT),
        (age_text(row.age_s), _COLOURS[row.age_level] if row.age_level else style.MUTED),
        (f"{row.points:.1f}", style.TEXT),
        (moving_text(row), style.MUTED),
        (lost_text(row), _COLOURS[row.lost_level] if row.lost_level else style.MUTED),
        (row.figures, style.MUTED),
    )


def number_cells(number: Number) -> tuple[Cell, ...]:
    """Text and colour of each column; an inferred angle is paler."""
    return (
        (number.angle, style.TEXT),
        (number.side, hexadecimal(number.colour)),
        (degrees_text(number.degrees), style.TEXT if number.measured else style.MUTED),
        (degrees_text(number.least_deg, 0), style.MUTED),
        (degrees_text(number.greatest_deg, 0), style.MUTED),
    )


class TextTable(QtWidgets.QTableWidget):
    """Coloured texts in rows; changes only cells that have changed."""

    def __init__(self, headers: Sequence[str], widths_px: Sequence[int], numbers: Collection[int]) -> None:
        """Set up the columns.

        Args:
            headers: of all columns; the last one takes the room that is left.
            widths_px: of all columns but the last.
            numbers: columns that are aligned to the right.
        """
        super().__init__(0, len(headers))
        self._numbers = numbers
        self.setHorizontalHeaderLabels(list(headers))
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT_PX)
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(40)
        header.setStretchLastSection(True)
        header.setDefaultAlignment(QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter)
        header.setHighlightSections(False)
        for column in numbers:
            title = QtWidgets.QTableWidgetItem(headers[column])
            title.setTextAlignment(_RIGHT)
            self.setHorizontalHeaderItem(column, title)
        for column, width in enumerate((*widths_px, header.minimumSectionSize())):
            self.setColumnWidth(column, width)

    def set_cells(self, rows: Sequence[Sequence[Cell]], tips: Sequence[str] = ()) -> None:
        """Show the rows; a cell's tip is its own text where the row has none."""
        if self.rowCount() != len(rows):
            self.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, (text, colour) in enumerate(row):
                self._set(index, column, text, colour, tips[index] if tips else text)

    def _set(self, row: int, column: int, text: str, colour: str, tip: str) -> None:
        item = self.item(row, column)
        if item is None:
            item = QtWidgets.QTableWidgetItem()
            if column in self._numbers:
                item.setTextAlignment(_RIGHT)
            self.setItem(row, column, item)
        if item.text() != text:
            item.setText(text)
        if item.toolTip() != tip:
            item.setToolTip(tip)
        if item.data(QtCore.Qt.ItemDataRole.UserRole) != colour:
            item.setData(QtCore.Qt.ItemDataRole.UserRole, colour)
            item.setForeground(QtGui.QColor(colour))


class SourceTable(TextTable):
    """Rows of ``HonestyModel``."""

    def __init__(self) -> None:
        super().__init__(SOURCE_HEADERS, SOURCE_WIDTHS_PX, _SOURCE_NUMBERS)

    def draw(self, rows: Sequence[SourceRow]) -> None:
        """Show the rows."""
        self.set_cells([source_cells(row) for row in rows])


class SensorTable(TextTable):
    """Rows of ``InertialModel``."""

    def __init__(self) -> None:
        super().__init__(SENSOR_HEADERS, SENSOR_WIDTHS_PX, _SENSOR_NUMBERS)

    def draw(self, rows: Sequence[SensorRow]) -> None:
        """Show the rows."""
        self.set_cells([sensor_cells(row) for row in rows], [f"{row.sensor}, says {row.node}" for row in rows])


class RadarTable(TextTable):
    """Rows of ``RadarModel``."""

    def __init__(self) -> None:
        super().__init__(RADAR_HEADERS, RADAR_WIDTHS_PX, _RADAR_NUMBERS)

    def draw(self, rows: Sequence[RadarRow]) -> None:
        """Show the rows; what a node says of itself is in the tips in full."""
        self.set_cells([radar_cells(row) for row in rows], [radar_tip(row) for row in rows])


def radar_tip(row: RadarRow) -> str:
    """What does not fit into the columns."""
    restarts = f", counted from the start again {row.restarts} times" if row.restarts else ""
    figures = "\n" + row.figures.replace("  ·  ", "\n") if row.figures else ""
    return f"{row.radar}: {lost_text(row)} frames lost by its own numbers{restarts}{figures}"


class SourcesPanel(QtWidgets.QWidget):
    """Sources of measurements, and beside them the inertial sensors and the radars where there are any."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.sensors, self.radars = SourceTable(), SensorTable(), RadarTable()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        row.addWidget(self.table, 1)
        column = QtWidgets.QVBoxLayout()
        column.setSpacing(2)
        column.addWidget(self.sensors, 1)
        column.addWidget(self.radars, 1)
        row.addLayout(column)
        for table in (self.sensors, self.radars):
            table.setFixedWidth(SENSORS_WIDTH_PX)
            table.setVisible(False)

    def draw(self, sources: Sequence[SourceRow], sensors: Sequence[SensorRow], radars: Sequence[RadarRow]) -> None:
        """Show the rows of all."""
        self.table.draw(sources)
        self.sensors.draw(sensors)
        self.sensors.setVisible(bool(sensors))
        self.radars.draw(radars)
        self.radars.setVisible(bool(radars))
        if radars and sensors:  # a row for each radar; what is left is the sensors'
            self.radars.setMaximumHeight(ROW_HEIGHT_PX * (len(radars) + 1) + TABLE_EXTRA_PX)
        else:
            self.radars.setMaximumHeight(UNBOUNDED_PX)


class NumberTable(TextTable):
    """Newest angles and their range."""

    def __init__(self) -> None:
        super().__init__(ANGLE_HEADERS, ANGLE_WIDTHS_PX, _ANGLE_NUMBERS)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def draw(self, numbers: Sequence[Number]) -> None:
        """Show the rows; what zero and a positive value mean is in the tips."""
        self.set_cells([number_cells(number) for number in numbers], [number.tip for number in numbers])


class HealthTable(TextTable):
    """Rows of ``HealthModel``."""

    def __init__(self) -> None:
        super().__init__(HEADERS, WIDTHS_PX, _NUMBERS)

    def draw(self, rows: Sequence[Row]) -> None:
        """Show the rows."""
        before = ["", *(row.node for row in rows)]
        self.set_cells([cells(row, row.node == node) for row, node in zip(rows, before, strict=False)])
