"""Drawn pictures: wearers as strings of discs, in plain numpy.

Not meant to look real: something for the viewer to show under the landmarks.
"""

from __future__ import annotations

import numpy as np

from fusion.maths.camera import project
from fusion.records import Float64, UInt8
from fusion.rig import Camera
from fusion.synthesis.params import PictureParams
from fusion.synthesis.wearer import CAPSULE_RADIUS_M, CAPSULES, Wearer, capsule_ends

_DISCS = 7
"""Discs along a capsule."""
_FLOOR_LIGHTER = 14
_SIDE_COLOURS = {"right": (70, 90, 210), "left": (200, 140, 60)}
_TRUNK_COLOUR = (170, 170, 175)
_COLOURS = np.array(
    [_SIDE_COLOURS.get(capsule.segment.partition("_")[0], _TRUNK_COLOUR) for capsule in CAPSULES], dtype=np.uint8
)


class Painter:
    """Draws what one camera sees.

    Args:
        camera: where from.
        params: colours.
        wearers: who.
    """

    def __init__(self, camera: Camera, params: PictureParams, wearers: tuple[Wearer, ...]) -> None:
        self.camera = camera
        self._wearers = wearers
        self._empty = np.full((camera.height, camera.width, 3), params.background, dtype=np.uint8)
        self._empty[camera.height // 2 :] += _FLOOR_LIGHTER

    def draw(self, time_s: float) -> UInt8:
        """The picture at a time: [height, width, 3], blue green red."""
        picture = self._empty.copy()
        centres, radii, colours, depths = [], [], [], []
        for wearer in self._wearers:
            positions, quaternions = wearer.motion.pose(np.array([time_s]))
            starts, ends = capsule_ends(positions, quaternions, wearer.motion.lengths_m)
            share = np.linspace(0.0, 1.0, _DISCS)[:, None, None]
            points = (starts + share * (ends - starts)).reshape(-1, 3)
            pixels, depth = project(points, self.camera)
            centres.append(pixels)
            depths.append(depth)
            radii.append(self.camera.matrix[0, 0] * np.tile(CAPSULE_RADIUS_M, _DISCS) / np.maximum(depth, 0.1))
            colours.append(np.tile(_COLOURS, (_DISCS, 1)))
        if not centres:
            return picture
        centre, radius, colour, depth = (np.concatenate(part) for part in (centres, radii, colours, depths))
        for i in np.argsort(-depth):
            if depth[i] > 0.0:
                _disc(picture, centre[i], float(radius[i]), colour[i])
        return picture


def _disc(picture: UInt8, centre_px: Float64, radius_px: float, colour: UInt8) -> None:
    """Fill a disc, in place, clipped to the picture."""
    height, width = picture.shape[:2]
    left, top = (max(int(np.floor(value - radius_px)), 0) for value in centre_px)
    right = min(int(np.ceil(centre_px[0] + radius_px)) + 1, width)
    bottom = min(int(np.ceil(centre_px[1] + radius_px)) + 1, height)
    if left >= right or top >= bottom:
        return
    across = (np.arange(left, right) - centre_px[0]) ** 2
    down = (np.arange(top, bottom) - centre_px[1]) ** 2
    picture[top:bottom, left:right][down[:, None] + across <= radius_px**2] = colour
