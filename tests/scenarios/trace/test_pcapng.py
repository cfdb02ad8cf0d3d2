"""Captures: their blocks, caps, rights, and what a full disk does."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from struct import unpack_from

import pytest

from scenarios.trace import Capture, OutputFile
from tests.scenarios.trace.captured import blocks
from tests.scenarios.trace.runs import SMALL, record


def capture(folder: Path, **caps: int) -> Capture:
    return Capture(
        OutputFile(folder, "c.pcapng", mode=0o600),
        edges=["acme"],
        hosts={"alice": "acme"},
        connectors={"hq": "acme"},
        program="poplab test",
        **{"most_packets": 100, **caps},
    )


def test_a_capture_is_a_section_its_interfaces_and_packets(tmp_path: Path) -> None:
    made = capture(tmp_path)
    made.epoch = 1_750_000_000.25
    interface = made.host("alice")
    assert (made.edge("acme"), made.connector("hq"), interface) == (0, 1, 2)
    assert made.edge("other") is None and made.connector("alice") is None and made.host("hq") is None
    made.packet(interface, 1.5, b"\x45" + bytes(20), "a comment", inbound=True)
    made.close()
    section, edge, hq, alice, packet = blocks((tmp_path / "c.pcapng").read_bytes())
    assert section[0] == 0x0A0D0D0A and b"poplab test" in section[1]
    assert [unpack_from("<H", body)[0] for _, body in (edge, hq, alice)] == [101] * 3
    assert b"edge:acme" in edge[1] and b"hq:acme" in hq[1] and b"alice:acme" in alice[1]
    number, high, low, captured, original = unpack_from("<IIIII", packet[1])
    assert (number, captured, original) == (2, 21, 21)
    assert high << 32 | low == 1_750_000_001_750_000_000
    assert b"a comment" in packet[1]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    capture(tmp_path).close()
    assert stat.S_IMODE((tmp_path / "c.pcapng").stat().st_mode) == 0o600


@pytest.mark.parametrize("caps", [{"most_packets": 3}, {"most_bytes": 700}])
def test_caps_end_the_capture_and_are_said(tmp_path: Path, caps: dict[str, int]) -> None:
    made = capture(tmp_path, **caps)
    for _ in range(50):
        made.packet(0, 0.0, bytes(40), "", inbound=False)
    made.close()
    assert made.why.startswith("it has")
    assert 0 < made.packets < 50
    assert made.packets + made.left_out == 50
    assert sum(kind == 6 for kind, _ in blocks((tmp_path / "c.pcapng").read_bytes())) == made.packets
    assert (tmp_path / "c.pcapng").stat().st_size <= caps.get("most_bytes", 1 << 20)


def test_a_full_disk_ends_the_capture_with_the_last_whole_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = capture(tmp_path)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 1000:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:1000])

    monkeypatch.setattr(os, "write", full)
    for _ in range(90):
        made.packet(0, 0.0, bytes(1000), "", inbound=False)
    made.close()
    monkeypatch.undo()
    assert "No space left" in made.why
    assert made.packets == 0 and made.left_out == 90
    assert [kind for kind, _ in blocks((tmp_path / "c.pcapng").read_bytes())] == [0x0A0D0D0A, 1, 1, 1]


def test_a_long_comment_is_cut_between_characters(tmp_path: Path) -> None:
    made = capture(tmp_path)
    made.packet(0, 0.0, bytes(20), "ü" * 10_000, inbound=True)
    made.close()
    (packet,) = (body for kind, body in blocks((tmp_path / "c.pcapng").read_bytes()) if kind == 6)
    assert len(packet) < 700


def test_the_pop_comments_with_fate_rule_and_step(tmp_path: Path) -> None:
    record(SMALL, tmp_path)
    data = (tmp_path / "capture.pcapng").read_bytes()
    assert b"from alice; forwarded to hq; rule echo; step the echo" in data
    assert b"from alice; dropped: policy_rejected; rule no-ping; step the ping" in data
    assert b"to alice; generated; step the ping" in data
    assert b"sent by alice; step the echo" in data
