"""Look of the window: Qt palette and style sheet."""

from __future__ import annotations

from PySide6 import QtGui, QtWidgets

from viz.models import colours

SURFACE = "#161922"
RAISED = "#1e2230"
BORDER = "#2c3243"
TEXT = "#d7dae3"
MUTED = "#8b92a5"
ACCENT = colours.hexadecimal(colours.PEOPLE[0])
WARNING = "#ffb547"
FAULT = "#ff6b61"
FINE = "#7bd88f"

SHEET = f"""
QMainWindow, QWidget {{ background: {SURFACE}; color: {TEXT}; font-size: 12px; }}
QToolBar {{ background: {RAISED}; border: 0; border-bottom: 1px solid {BORDER}; spacing: 4px; padding: 4px 6px; }}
QToolButton {{ color: {TEXT}; background: transparent; border: 1px solid transparent; border-radius: 4px; padding: 4px 10px; }}
QToolButton:hover {{ background: {BORDER}; }}
QToolButton:checked {{ background: #233447; border-color: {ACCENT}; color: {ACCENT}; }}
QToolButton:disabled {{ color: #565d70; }}
QToolButton#record:checked {{ background: #45201f; border-color: {FAULT}; color: {FAULT}; }}
QStatusBar {{ background: {RAISED}; border-top: 1px solid {BORDER}; }}
QStatusBar::item {{ border: 0; }}
QStatusBar QLabel {{ background: transparent; padding: 1px 8px; }}
QTableWidget::item {{ padding: 0 8px; }}
QTableWidget {{ background: {SURFACE}; alternate-background-color: #191d28; border: 0; gridline-color: {BORDER}; }}
QHeaderView {{ background: {RAISED}; }}
QHeaderView::section {{ background: {RAISED}; color: {MUTED}; border: 0; border-bottom: 1px solid {BORDER}; padding: 3px 8px; }}
QTableCornerButton::section {{ background: {RAISED}; border: 0; }}
QTabWidget::pane {{ border: 0; }}
QTabBar {{ background: {SURFACE}; }}
QTabBar::tab {{ background: {SURFACE}; color: {MUTED}; padding: 4px 14px; border: 0; border-bottom: 2px solid {SURFACE}; }}
QTabBar::tab:selected {{ color: {TEXT}; border-bottom-color: {ACCENT}; }}
QTabBar::tab:hover {{ color: {TEXT}; }}
QPushButton#joint {{ background: {RAISED}; color: {MUTED}; border: 1px solid {BORDER}; border-radius: 4px; padding: 2px 4px; }}
QPushButton#joint:checked {{ background: #233447; border-color: {ACCENT}; color: {ACCENT}; }}
QComboBox {{ background: {RAISED}; color: {TEXT}; border: 1px solid {BORDER}; border-radius: 4px; padding: 2px 6px; }}
QLabel#warning {{ color: {FAULT}; font-weight: bold; padding: 0 10px 8px 10px; }}
QLabel#answer {{ background: {RAISED}; color: {TEXT}; border: 1px solid {BORDER}; border-radius: 4px; padding: 3px 8px; }}
QSplitter::handle {{ background: {BORDER}; }}
QLabel#legend {{ background: transparent; color: {MUTED}; padding: 4px 8px; }}
QLabel#scale {{ background: rgba(16, 18, 24, 190); color: {MUTED}; border-radius: 4px; padding: 4px 8px; }}
QLabel#message {{ color: {WARNING}; padding: 24px; font-size: 14px; }}
QScrollBar:vertical {{ background: {SURFACE}; width: 10px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {BORDER}; border-radius: 4px; min-height: 24px; }}
QScrollBar:horizontal {{ background: {SURFACE}; height: 10px; margin: 0; }}
QScrollBar::handle:horizontal {{ background: {BORDER}; border-radius: 4px; min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; width: 0; }}
QToolTip {{ background: {RAISED}; color: {TEXT}; border: 1px solid {BORDER}; }}
"""  # noqa: E501


def apply(application: QtWidgets.QApplication) -> None:
    """Dark palette and sheet for the whole application."""
    application.setStyle("Fusion")
    palette = QtGui.QPalette()
    roles = QtGui.QPalette.ColorRole
    for role, colour in (
        (roles.Window, SURFACE),
        (roles.WindowText, TEXT),
        (roles.Base, SURFACE),
        (roles.AlternateBase, RAISED),
        (roles.Text, TEXT),
        (roles.Button, RAISED),
        (roles.ButtonText, TEXT),
        (roles.Highlight, BORDER),
        (roles.HighlightedText, TEXT),
    ):
        palette.setColor(role, QtGui.QColor(colour))
    application.setPalette(palette)
    application.setStyleSheet(SHEET)


def qcolour(rgba: tuple[float, ...]) -> QtGui.QColor:
    """A Qt colour of red, green, blue and perhaps opacity in 0..1."""
    return QtGui.QColor.fromRgbF(*(min(max(float(part), 0.0), 1.0) for part in rgba))
