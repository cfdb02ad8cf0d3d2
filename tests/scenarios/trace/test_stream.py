"""Trace files: whole, cut off, too long, and by strangers."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import msgpack
import pytest

from edge.errors import Refused
from scenarios.trace import Event, OutputFile, StreamWriter, Trace, TraceError

ABOUT = {"file": "x.yaml", "seed": 7}
SENT = Event(1.5, "sent", "alice", source="10.0.0.1", sport=5060, length=100)


def write(folder: Path, *events: Event, limit: int = 100) -> Path:
    writer = StreamWriter(OutputFile(folder, "trace.msgpack", mode=0o644), ABOUT, limit=limit)
    for event in events:
        writer(event)
    writer.close()
    return folder / "trace.msgpack"


def read(path: Path) -> list[Event]:
    with Trace(path) as trace:
        return list(trace)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, SENT, SENT._replace(at=2.0))
    with Trace(path) as trace:
        assert trace.about["seed"] == 7
        assert list(trace) == [SENT, SENT._replace(at=2.0)]
        assert trace.end is not None and trace.end["events"] == 2


def test_beyond_the_limit_events_are_counted_and_in_the_digest(tmp_path: Path) -> None:
    writer = StreamWriter(OutputFile(tmp_path, "trace.msgpack", mode=0o644), ABOUT, limit=1)
    for at in (1.0, 2.0):
        writer(SENT._replace(at=at))
    writer.close()
    assert "1 more were only counted" in writer.why
    other = write(tmp_path / "b", SENT._replace(at=1.0), SENT._replace(at=3.0), limit=1)
    with Trace(tmp_path / "trace.msgpack") as one, Trace(other) as two:
        assert list(one) == list(two)
        assert one.end is not None and two.end is not None
        assert one.end["events"] == 2 and one.end["written"] == 1
        assert one.end["digest"] != two.end["digest"]


def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write(tmp_path, *[SENT] * 5)
    path.write_bytes(path.read_bytes()[:-90])
    with Trace(path) as trace:
        assert 0 < len(list(trace)) <= 5
        assert trace.cut_off


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([], "does not begin"),
        ([[1, 2]], "does not begin"),
        ([{"magic": "poplab-trace", "format": 99, "poplab": "9.9"}], "'99', written by poplab '9.9'"),
        ([{"magic": "poplab-trace", "format": 1}, [1]], "event 1 does not have 15 fields"),
        ([{"magic": "poplab-trace", "format": 1}, "x" * 5000], "exceeds max_str_len"),
        ([{"magic": "poplab-trace", "format": 1}, list(SENT._replace(at=float("nan")))], "has a at"),
        ([{"magic": "poplab-trace", "format": 1}, list(SENT._replace(sport=70000))], "has a sport"),
        ([{"magic": "poplab-trace", "format": 1}, list(SENT._replace(kind="gone"))], "unknown kind"),
        ([{"magic": "poplab-trace", "format": 1}, {"events": 0}, list(SENT)], "follows its end"),
        ([{"magic": "poplab-trace", "format": 1}, list(range(40))], "exceeds max_array_len"),
    ],
)
def test_what_is_no_trace_is_refused_in_words(tmp_path: Path, objects: list[object], said: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(b"".join(map(msgpack.packb, objects)))
    with pytest.raises(TraceError, match=said):
        read(path)


def test_mutated_traces_raise_nothing_else(tmp_path: Path) -> None:
    good = write(tmp_path, *[SENT] * 20).read_bytes()
    rng = random.Random(1)
    path = tmp_path / "mutated"
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.randint(0, len(data))])
        with contextlib.suppress(TraceError):
            read(path)


def test_a_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep"
    path.write_bytes(b"\x91" * 100_000)
    with pytest.raises(TraceError):
        read(path)


def test_an_output_file_follows_no_link_and_writes_into_no_other_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "trace.msgpack").symlink_to(victim)
    write(tmp_path, SENT)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "trace.msgpack").is_symlink()
    (tmp_path / "folder" / "trace.msgpack").mkdir(parents=True)
    with pytest.raises(Refused, match="trace.msgpack"):
        write(tmp_path / "folder", SENT)
