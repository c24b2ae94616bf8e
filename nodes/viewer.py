"""Viewer node: shows the running graph in a window.

It takes no inputs of the graph. It attaches to its own session as an observer
(``nodes.attached``), exactly as ``kinefuse view`` does from outside, so no
publisher waits for it in a ``data`` session and closing the window changes
nothing for the others. In a headless session it only waits for the end.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nodes.errors import RequestError
from nodes.graph.schema import OutputPath
from nodes.node import Envelope, NodeContext, NodeParams
from viz.models.options import Answer, PanelName

if TYPE_CHECKING:
    from nodes.attached import SessionObserver
    from nodes.graph.protocol import Directory
    from viz.models.feed import Arrival
    from viz.models.scene import SceneModel
    from viz.widgets.window import ViewerWindow

WAIT_S = 0.5
CHECK_EVERY_MS = 100
NO_DATA_AFTER_S = 120.0
"""A picture is given up if nothing but health has come for so long; a graph's first start compiles for a while."""
EXTRA = "the viewer's packages are not installed: pip install 'kinefuse[viewer]'"
DONE, FAILED = 0, 1


class Params(NodeParams):
    """Keys of a viewer node."""

    required: bool = False
    size: tuple[int, int] = Field((1280, 800))
    """Width and height of the window, pixels."""
    record_path: OutputPath = "sessions"
    """Where the record button writes: a folder, or a file ``….mcap``; nothing is ever overwritten."""

    answer: Answer = "people"
    """Whose skeletons are drawn at the start: everyone now, smoothed (``lag_s``) or predicted (``ahead_s``)."""
    panel: PanelName = "streams"
    """What lies open below the scene at the start."""

    def wants(self, available: tuple[str, ...]) -> tuple[str, ...]:
        """Nothing: it observes the session from outside the graph."""
        return ()


def run(params: Params, context: NodeContext) -> None:
    """Show the session until it stops or the window is closed."""
    if context.session.headless:
        context.ready()
        while not context.stopping:
            context.receive(WAIT_S)
        return
    try:
        from viz.widgets.display import probe
    except ImportError as error:
        raise RequestError(f"{EXTRA} ({error})") from error
    display = probe()
    if not display.platform:
        raise RequestError(f"{display.message}; or leave windows out with --headless")
    context.ready()
    if display.message:
        context.log.warning("%s", display.message)

    def stopping() -> bool:
        context.receive(0.0)  # tells the supervisor that this node lives and waits for nothing
        return context.stopping

    request = WindowRequest(
        size=params.size, record_to=Path(params.record_path), answer=params.answer, panel=params.panel
    )
    if show(_own_directory(), request, no_gl=display.message, stopping=stopping) != DONE:
        raise RuntimeError("the window failed")


def _own_directory() -> Directory:
    """The directory of the session whose launcher has started this process."""
    from nodes.attached import AttachError, request_directory
    from nodes.graph.rundir import running_sessions

    for session in running_sessions():
        if session.pid == os.getppid():
            return request_directory(session.control)
    raise AttachError(f"the session of process {os.getppid()} is not announced")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRequest:
    """What a window should show and when it should end."""

    size: tuple[int, int] = (1280, 800)
    record_to: Path = Path("sessions")
    switched_on: tuple[str, ...] = ("reprojection",)
    """Of ``viz.models.options.SWITCHES``."""
    answer: Answer = "people"
    """Whose skeletons are drawn."""
    panel: PanelName = "streams"
    """What lies open below the scene."""
    png: Path | None = None
    """Write a picture of the window here and end."""
    overwrite: bool = False
    after_s: float | None = None
    """End after so many seconds of data."""


def show(directory: Directory, request: WindowRequest, *, no_gl: str, stopping: Callable[[], bool]) -> int:
    """Open a window on a session; returns when it is closed, told to stop or done, with an exit code.

    Args:
        directory: of the session.
        request: what to show.
        no_gl: why there is no OpenGL; empty where there is.
        stopping: asked ten times a second.

    Raises:
        CalibrationError: if the session's profile cannot be read.
        RequestError: if the picture's file exists.
    """
    from nodes.attached import ObserverRecording, SessionObserver, rig_of
    from viz.models.options import SWITCHES, ViewOptions
    from viz.models.scene import SceneModel
    from viz.widgets.jpeg import decode_jpeg
    from viz.widgets.window import ViewerWindow, open_application

    if request.png is not None:
        refuse_existing(request.png, request.overwrite)
    model = SceneModel(rig_of(directory), decode_jpeg)
    application = open_application()
    observer = SessionObserver(directory, topics=shown_topics(directory), name="viewer")
    try:
        switches: dict[str, Any] = {name: name in request.switched_on for name in SWITCHES}
        options = ViewOptions(**switches, answer=request.answer)
        window = ViewerWindow(
            directory.session.name,
            model,
            ObserverFeed(observer),
            recording=ObserverRecording(directory, request.record_to),
            no_gl=no_gl,
            options=options,
            panel=request.panel,
        )
        window.resize(*request.size)
        window.show()
        session = _Showing(window, model, request, stopping)
        return session.run(application)
    finally:
        observer.close()


def shown_topics(directory: Directory) -> tuple[str, ...]:
    """What a window has use for: radar tensors are megabytes a frame and are not drawn."""
    return tuple(topic for topic in directory.topics if topic.rpartition("/")[2] != "tensor")


def _arrival(envelope: Envelope) -> Arrival:
    from viz.models.feed import Arrival

    return Arrival(envelope.topic, envelope.record, envelope.published_ns, envelope.cause_published_ns)


class ObserverFeed:
    """A ``viz.models.feed.Feed`` on an observer."""

    def __init__(self, observer: SessionObserver) -> None:
        self._observer = observer

    def drain(self, budget_s: float) -> Iterator[Arrival]:
        """Measurements for at most ``budget_s``, then the newest pictures: neither can keep the other out."""
        deadline_s = time.perf_counter() + budget_s
        for envelope in self._observer.take():
            yield _arrival(envelope)
            if time.perf_counter() > deadline_s:
                break
        yield from map(_arrival, self._observer.take_pictures())

    def now_ns(self) -> int:
        """The session clock."""
        return self._observer.clock.now_ns()

    def state(self) -> str:
        """``live``, ``waiting``, or for how long nothing has been heard."""
        from nodes.attached import SILENT_AFTER_S

        silent_s = self._observer.silent_s
        if silent_s == float("inf"):
            return "waiting for the session"
        return "live" if silent_s < SILENT_AFTER_S else f"nothing heard for {silent_s:.0f} s"


class _Showing:
    """A window from opening to closing."""

    def __init__(
        self, window: ViewerWindow, model: SceneModel, request: WindowRequest, stopping: Callable[[], bool]
    ) -> None:
        self._window, self._model, self._request, self._stopping = window, model, request, stopping
        self._code = DONE
        self._opened_s = time.monotonic()
        self._data_since_s: float | None = None

    def run(self, application: object) -> int:
        from PySide6 import QtCore, QtWidgets

        assert isinstance(application, QtWidgets.QApplication)
        timer = QtCore.QTimer()
        timer.timeout.connect(self._check)
        timer.start(CHECK_EVERY_MS)
        previous = sys.excepthook
        sys.excepthook = self._failed
        try:
            application.exec()
        finally:
            sys.excepthook = previous
            timer.stop()
            self._window.close()
        return self._code

    def _check(self) -> None:
        now_s = time.monotonic()
        if self._stopping():
            self._end(DONE)
        elif self._request.after_s is not None:
            self._check_time(now_s, self._request.after_s)

    def _check_time(self, now_s: float, after_s: float) -> None:
        from PySide6 import QtCore

        if self._data_since_s is None:
            if self._model.state.first_measured_ns >= 0:
                self._data_since_s = now_s
            elif now_s - self._opened_s > NO_DATA_AFTER_S:
                print(f"no data has come for {NO_DATA_AFTER_S:.0f} s", file=sys.stderr)
                self._end(FAILED)
        elif now_s - self._data_since_s >= after_s and self._window.frames_drawn > 0:
            if self._request.png is not None:
                self._window.tick()  # what has come up to now is in the picture
                QtCore.QCoreApplication.sendPostedEvents()  # and texts that have changed have their room
                write_png(self._window, self._request.png, self._request.overwrite)
            self._end(DONE)

    def _end(self, code: int) -> None:
        from PySide6 import QtCore

        self._code = code
        self._window.stop()
        QtCore.QCoreApplication.quit()

    def _failed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """An exception in a Qt slot: say it and end, where Qt would go on without the timer."""
        if isinstance(error, RequestError | OSError):
            print(f"kinefuse: {error}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)
        self._end(FAILED)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises:
    RequestError: if the file exists and may not be replaced, or its folder is missing.
    """
    if path.exists() and not overwrite:
        raise RequestError(f"{path}: exists already; choose another name, or give --overwrite")
    if not path.absolute().parent.is_dir():
        raise RequestError(f"{path}: there is no folder {path.absolute().parent}")


def write_png(window: ViewerWindow, path: Path, overwrite: bool) -> None:
    """Write a picture of the window, whole or not at all.

    Raises:
        RequestError: if the file exists and may not be replaced.
        OSError: if it cannot be written.
    """
    refuse_existing(path, overwrite)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".png", dir=path.absolute().parent)
    os.close(handle)
    try:
        if not window.grab().save(name, "PNG"):
            raise OSError(f"{path}: the picture cannot be written")
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
