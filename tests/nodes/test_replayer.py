"""The replayer node on a loop-back bus."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nodes import replayer
from nodes.errors import RequestError
from nodes.node import Envelope, SessionInfo
from nodes.runtime import LoopbackContext
from nodes.sessions.reader import SessionReader
from nodes.transport.codec import encode_flat
from tests.nodes.sessions.samples import STEP_NS, write_session

DATA = SessionInfo(name="lab", profile=None, graph_text="", time="data", headless=True)
LIVE = dataclasses.replace(DATA, time="live")


def replay(path: Path, *, session: SessionInfo = DATA, **keys: object) -> LoopbackContext:
    context = LoopbackContext("replay", session=session)
    params = replayer.Params.model_validate({"type": "replayer", "path": str(path), "speed": "max", **keys})
    replayer.run(params, context)
    return context


def bits(envelopes: list[Envelope]) -> list[bytes]:
    """Topic and record of each, without what the new publisher has put on it."""
    return [encode_flat(Envelope(item.topic, 0, 0, 0, item.record)) for item in envelopes]


def test_same_records_on_the_same_topics_in_the_same_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    recorded = [envelope for _, envelope in write_session(path)]
    published = replay(path).published
    assert bits(published[:-1]) == bits(recorded)
    assert published[-1].topic == "replay/end"
    assert published[-1].record.measured_ns == recorded[-1].record.measured_ns


def test_two_replays_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    write_session(path)
    assert bits(replay(path).published) == bits(replay(path).published)


def test_part_of_the_time_and_of_the_topics(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    write_session(path, 100)
    step_s = STEP_NS * 1e-9
    published = replay(path, start_s=20 * step_s, end_s=50 * step_s, skip=["radar*"]).published
    assert [item.topic for item in published[:-1]] == ["cam1/landmarks"] * 30


def test_what_it_publishes_is_what_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    write_session(path, 10)
    params = replayer.Params.model_validate({"type": "replayer", "path": str(path)})
    assert params.publishes("replay") == ("cam1/landmarks", "radar1/points", "replay/end")
    assert params.model_copy(update={"topics": ["radar1/*"]}).publishes("r") == ("radar1/points", "r/end")


class _FollowedClock:
    """A clock that is moved on by whoever waits."""

    def __init__(self) -> None:
        self.time_ns = 0

    def now_ns(self) -> int:
        return self.time_ns


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_records_keep_their_distances_in_time(tmp_path: Path, speed: float) -> None:
    path = tmp_path / "a.mcap"
    content = write_session(path, 30)
    clock = _FollowedClock()
    context = LoopbackContext("replay", session=LIVE, clock=clock)

    def wait(timeout_s: float) -> None:
        clock.time_ns += round(timeout_s * 1e9)

    context.receive = wait  # type: ignore[method-assign, assignment]
    replayer.run(replayer.Params.model_validate({"type": "replayer", "path": str(path), "speed": speed}), context)
    first_ns = content[0][0]
    due_ns = [(log_ns - first_ns) / speed for log_ns, _ in content]
    late_ns = [item.published_ns - due for item, due in zip(context.published[:-1], due_ns, strict=True)]
    assert max(map(abs, late_ns)) <= 1


def test_damaged_part_is_counted_and_the_rest_replayed(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    content = write_session(path, 100, flush_every=10)
    with SessionReader(path) as session:
        chunk = session.index.contents.chunks[3]
    data = bytearray(path.read_bytes())
    data[chunk.chunk_start_offset + chunk.chunk_length // 2] ^= 0xFF
    path.write_bytes(data)
    context = replay(path)
    assert context.counters["damaged_chunks"] == 1
    assert len(context.published) == len(content) - 10 + 1


def test_max_in_a_live_session_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    write_session(path, 2)
    with pytest.raises(RequestError, match="max needs session"):
        replay(path, session=LIVE)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"speed": 0}, "more than 0"),
        ({"speed": "fast"}, "max"),
        ({"start_s": 3, "end_s": 2}, "not after"),
        ({"topics": []}, "topics"),
    ],
)
def test_wrong_keys_are_refused(keys: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        replayer.Params.model_validate({"type": "replayer", "path": "x.mcap", **keys})
