"""JPEG bytes to pixels with Qt's reader, which decodes at a reduced size without the full one."""

from __future__ import annotations

import numpy as np
from PySide6 import QtCore, QtGui

from fusion.records import UInt8

ALLOCATION_LIMIT_MIB = 128
"""A picture that claims to need more is refused before anything is allocated."""


def decode_jpeg(data: UInt8, longest_side_px: int) -> UInt8 | None:
    """Red-green-blue [h, w, 3] with a longest side of at most ``longest_side_px``; None if the bytes are no JPEG."""
    QtGui.QImageReader.setAllocationLimit(ALLOCATION_LIMIT_MIB)
    buffer = QtCore.QBuffer()
    buffer.setData(data.tobytes())
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    reader = QtGui.QImageReader(buffer, QtCore.QByteArray(b"jpeg"))
    reader.setAutoTransform(False)
    size = reader.size()
    if not size.isValid() or size.isEmpty():
        return None
    if max(size.width(), size.height()) > longest_side_px:
        side = QtCore.QSize(longest_side_px, longest_side_px)
        reader.setScaledSize(size.scaled(side, QtCore.Qt.AspectRatioMode.KeepAspectRatio))
    image = reader.read()
    if image.isNull():
        return None
    return image_pixels(image)


def image_pixels(image: QtGui.QImage) -> UInt8:
    """Red-green-blue [h, w, 3] of a Qt image, a copy."""
    rgb = image.convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), dtype=np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return rows[:, : 3 * rgb.width()].reshape(rgb.height(), rgb.width(), 3).copy()
