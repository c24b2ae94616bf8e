"""Where publishers listen, and the keys that let them listen beyond this machine.

On POSIX systems a node listens on ``ipc`` sockets in a folder that only this
user can enter; elsewhere on TCP of the loop-back interface. A second bind on an
``ipc`` path succeeds without a word and cuts the first publisher off, so each
path is taken with a lock first. Any other interface is refused unless CURVE
keys are given, and then only a peer that holds the session's keys gets in.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import zmq
from pydantic import BaseModel, ConfigDict
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

_MAX_IPC_PATH_BYTES = 100
"""``sun_path`` holds 104 (macOS) or 108 (Linux) bytes."""

RECONNECT_MS = 20
RECONNECT_MAX_MS = 200
REVIVE_AFTER_S = 1.0


class EndpointError(RuntimeError):
    """An endpoint that must not or cannot be used."""


class CurveKeys(BaseModel):
    """The session's own key pair (Z85), used by both ends of each connection."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    public: str
    secret: str

    @classmethod
    def generate(cls) -> CurveKeys:
        public, secret = zmq.curve_keypair()
        return cls(public=public.decode(), secret=secret.decode())


class Endpoints(BaseModel):
    """Where one publisher listens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latest: str
    """Streams of which a slow reader gets the newest only."""
    all: str
    """Streams of which a reader gets each record."""
    credit: str
    """Where readers say what they have consumed (``data`` time)."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a reader takes from one publisher."""

    publisher: str
    endpoints: Endpoints
    topics: tuple[str, ...]


def ipc_available() -> bool:
    return sys.platform != "win32" and zmq.has("ipc")


def make_endpoint(folder: Path, name: str) -> str:
    """A fresh endpoint for ``name``: an ipc path in ``folder``, or a free loop-back port.

    Raises:
        EndpointError: if the path is too long for a socket.
    """
    if not ipc_available():
        return f"tcp://127.0.0.1:{_free_port()}"
    path = folder / name
    if len(os.fsencode(path)) > _MAX_IPC_PATH_BYTES:
        raise EndpointError(
            f"{path}: longer than the {_MAX_IPC_PATH_BYTES} bytes of a socket's path; use a shorter folder"
        )
    return f"ipc://{path}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BoundSocket:
    """A socket that listens on an endpoint, with the lock on its ipc path."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str, keys: CurveKeys | None
    ) -> None:
        refuse_unsafe(endpoint, keys)
        self._lock = _lock_ipc(endpoint)
        self.socket: zmq.Socket[bytes] = context.socket(kind)
        self._endpoint = endpoint
        if keys is not None:
            secure_server(self.socket, keys)

    def bind(self) -> None:
        """Listen (after the socket's options are set).

        Raises:
            EndpointError: if another process listens there.
        """
        try:
            self.socket.bind(self._endpoint)
        except zmq.ZMQError as error:
            self.close(0)
            raise EndpointError(f"{self._endpoint}: {error.strerror}") from None

    def close(self, linger_ms: int) -> None:
        self.socket.close(linger=linger_ms)
        if self._lock is not None:
            self._lock.close()


def _lock_ipc(endpoint: str) -> IO[bytes] | None:
    if not endpoint.startswith("ipc://"):
        return None
    import fcntl

    path = endpoint.removeprefix("ipc://") + ".lock"
    lock = open(path, "ab")  # noqa: SIM115 - held while the socket lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise EndpointError(f"{endpoint}: another publisher listens here") from None
    return lock


def refuse_unsafe(endpoint: str, keys: CurveKeys | None) -> None:
    """Refuse to listen beyond this machine without keys.

    Raises:
        EndpointError: for a TCP address that is not loop-back, if there are no keys.
    """
    if endpoint.startswith(("ipc://", "inproc://")) or keys is not None:
        return
    host = urlsplit(endpoint).hostname or "*"
    loopback = host == "localhost"
    with contextlib.suppress(ValueError):
        loopback = ipaddress.ip_address(host).is_loopback
    if not (endpoint.startswith("tcp://") and loopback):
        raise EndpointError(f"{endpoint}: listens beyond this machine; give CURVE keys, or use tcp://127.0.0.1:PORT")


def secure_server(server: zmq.Socket[bytes], keys: CurveKeys) -> None:
    """Let in only peers that use the session's key pair (the context needs an ``authenticator``)."""
    server.setsockopt(zmq.CURVE_SERVER, 1)
    server.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
    server.setsockopt_string(zmq.ZAP_DOMAIN, "kinefuse")


def secure_client(client: zmq.Socket[bytes], keys: CurveKeys | None) -> None:
    if keys is not None:
        client.setsockopt(zmq.CURVE_SERVERKEY, keys.public.encode())
        client.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
        client.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())


class _OneKey:
    """Credentials provider: the session's public key and no other."""

    def __init__(self, keys: CurveKeys) -> None:
        self._public = keys.public.encode()

    def callback(self, _domain: str, key: bytes) -> bool:
        return zmq.utils.z85.encode(key) == self._public if len(key) == 32 else key == self._public


def authenticator(context: zmq.Context[zmq.Socket[bytes]], keys: CurveKeys | None) -> ThreadAuthenticator | None:
    """Start the check of peers' keys for all listening sockets of ``context``; stop it before the context ends."""
    if keys is None:
        return None
    thread = ThreadAuthenticator(context)
    thread.start()
    thread.configure_curve_callback(domain="kinefuse", credentials_provider=_OneKey(keys))
    return thread


def connect(client: zmq.Socket[bytes], endpoint: str, keys: CurveKeys | None) -> None:
    """Connect, now or whenever somebody listens there, and again after each loss."""
    secure_client(client, keys)
    client.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    client.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    client.connect(endpoint)


class Reviver:
    """Connects a reader again where ZeroMQ gives up.

    After a peer has broken the protocol (a part beyond the bound, bytes that are
    not ZeroMQ) the library never connects there again, although a sound publisher
    may listen a moment later. This watches for connections that were lost and are
    not back after ``REVIVE_AFTER_S`` and makes them anew.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], client: zmq.Socket[bytes]) -> None:
        """Before ``client`` connects."""
        self._client = client
        self._lost_s: dict[str, float] = {}
        self._next_s = 0.0
        address = f"inproc://monitor-{secrets.token_hex(8)}"
        client.monitor(address, zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECTED)
        self._events = context.socket(zmq.PAIR)
        self._events.setsockopt(zmq.RCVHWM, 0)  # The library's own thread must never wait for us.
        self._events.connect(address)

    def step(self, now_s: float) -> None:
        """Look, at most a few times a second."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + REVIVE_AFTER_S / 4
        self._read_events(now_s)
        for endpoint, lost_s in list(self._lost_s.items()):
            if now_s - lost_s > REVIVE_AFTER_S:
                del self._lost_s[endpoint]
                self._client.disconnect(endpoint)
                self._client.connect(endpoint)

    def _read_events(self, now_s: float) -> None:
        while self._events.poll(0):
            event = recv_monitor_message(self._events)
            endpoint = event["endpoint"].decode()
            if event["event"] == zmq.EVENT_DISCONNECTED:
                self._lost_s[endpoint] = now_s
            else:
                self._lost_s.pop(endpoint, None)

    def close(self) -> None:
        self._client.disable_monitor()
        self._events.close(linger=0)
