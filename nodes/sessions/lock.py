"""Whether somebody is writing a session file at this moment.

An advisory lock of the operating system: it ends with its process, however that
ends. Where there are no such locks (Windows), an open file cannot be replaced
anyway.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

if sys.platform != "win32":
    import fcntl

    def hold(stream: IO[Any]) -> bool:
        """Lock an open file until it is closed; False if somebody else has."""
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # A file system without locks.
        return True

else:

    def hold(stream: IO[Any]) -> bool:
        """Lock an open file until it is closed; False if somebody else has."""
        return True


def being_written(path: Path) -> bool:
    """True while a writer has the file."""
    with path.open("rb") as stream:
        return not hold(stream)
