"""Is there a display, and can it draw in three dimensions?

Qt ends the process when it finds no display, and some drivers end it when they
are asked for a context, so the question is put to a second process: this module,
run as a program, prints the answer as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

PROBE_TIMEOUT_S = 30.0
_PROBE_SIDE_PX = 64

NO_DISPLAY_ADVICE = (
    "run it in a desktop session, or under a virtual one: xvfb-run -a kinefuse view …; "
    "on Linux Qt also needs: apt install libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxkbcommon-x11-0 libegl1"
)
NO_GL_ADVICE = (
    "install a driver (apt install libgl1-mesa-dri libglx-mesa0 libegl1), or draw with the processor: "
    "LIBGL_ALWAYS_SOFTWARE=1; QT_QPA_PLATFORM=offscreen never has OpenGL, use xvfb-run instead"
)


@dataclass(frozen=True, slots=True)
class Display:
    """What was found."""

    platform: str
    """Qt's platform plugin; empty without a display."""
    renderer: str
    """OpenGL renderer; empty without OpenGL."""
    message: str
    """What is missing and what to do; empty if nothing is."""


def probe() -> Display:
    """Try a display and an OpenGL context in a process of their own; never raises."""
    environment = {**os.environ, "QT_LOGGING_RULES": "*=false"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "viz.widgets.display"],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Display("", "", f"no display: it did not answer within {PROBE_TIMEOUT_S:.0f} s; {NO_DISPLAY_ADVICE}")
    lines = done.stdout.strip().splitlines()
    try:
        return Display(**json.loads(lines[-1]))
    except (IndexError, TypeError, ValueError):
        return Display("", "", f"no display: {_first_reason(done.stderr)}; {NO_DISPLAY_ADVICE}")


def _first_reason(text: str) -> str:
    """The first line that Qt or Python gave as the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wanted = [line for line in lines if "display" in line or "Error" in line]
    return (wanted or lines or ["Qt could not start"])[0]


def _try() -> Display:
    """Draw a red widget with OpenGL and look whether it is red: a context alone does not mean that it is shown."""
    from OpenGL import GL
    from PySide6.QtOpenGLWidgets import QOpenGLWidget
    from PySide6.QtWidgets import QApplication

    renderer = ""

    class RedWidget(QOpenGLWidget):
        def paintGL(self) -> None:
            nonlocal renderer
            name = GL.glGetString(GL.GL_RENDERER)
            renderer = name.decode("utf-8", "replace") if name else "unknown"
            GL.glClearColor(1.0, 0.0, 0.0, 1.0)
            GL.glClear(GL.GL_COLOR_BUFFER_BIT)

    application = QApplication([])
    platform = application.platformName()
    widget = RedWidget()
    widget.resize(_PROBE_SIDE_PX, _PROBE_SIDE_PX)
    widget.show()
    application.processEvents()
    centre = widget.grab().toImage().pixelColor(_PROBE_SIDE_PX // 2, _PROBE_SIDE_PX // 2)
    if widget.isValid() and renderer and centre.red() > 200 > centre.green():
        return Display(platform, renderer, "")
    return Display(platform, "", f"no OpenGL on Qt platform {platform!r}: {NO_GL_ADVICE}")


if __name__ == "__main__":
    print(json.dumps(asdict(_try())), flush=True)
    os._exit(0)  # no driver's clean-up can spoil the answer
