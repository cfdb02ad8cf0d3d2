"""Wireshark reads what we capture: every packet of every lesson, none malformed."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from scenarios import doctor
from scenarios.trace import Kind
from tests.scenarios.trace.runs import LIBRARY, ON_REAL_MACHINES, SMALL, events, record

TSHARK = doctor.find_program("tshark")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not TSHARK.there, reason=TSHARK.sentence),
]
LONG = ("11-lossy-uplink", "12-thousand-softphones", "13-day-in-the-life", "23-load-on-loopback")
SLOW = pytest.mark.skipif(not os.environ.get("POPLAB_SLOW"), reason="takes minutes: POPLAB_SLOW=1 runs it")
FILES = [
    pytest.param(file, marks=[SLOW] if file.stem in LONG else [], id=file.stem)
    for file in sorted(LIBRARY.glob("*.yaml"))
    if file.stem not in ON_REAL_MACHINES
]


def read(capture: Path, *fields: str, only: str = "") -> list[list[str]]:
    """The wanted fields of each packet."""
    words = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-o", "ip.check_checksum:TRUE"]
    words += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        [*words, *(["-Y", only] if only else [])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr and "damaged" not in done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def captured(text: str) -> str:
    """`text` of a scenario that captures at the PoP, whatever else it leaves."""
    lines = [line for line in text.splitlines() if not line.startswith("outputs:")]
    assert "captures:" not in "\n".join(lines)
    return "\n".join([*lines, "outputs: {captures: {at: edge, packets: 1000000}}", ""])


@pytest.mark.parametrize("file", FILES)
def test_every_packet_of_the_library_is_read_and_none_is_malformed(file: Path, tmp_path: Path) -> None:
    run = record(captured(file.read_text()), tmp_path)
    capture = tmp_path / "capture.pcapng"
    assert read(capture, "frame.number", only="_ws.malformed") == []
    assert read(capture, "frame.number", only="ip.checksum.status == 0") == []
    seen = Counter(row[0] for row in read(capture, "frame.interface_name"))
    told = Counter(
        event.vnet
        for event in events(tmp_path)
        if event.kind in (Kind.OPENED, Kind.FORWARDED, Kind.GENERATED)
    )
    assert seen == {f"edge:{vnet}": count for vnet, count in told.items()}
    assert run.accounts


@pytest.mark.parametrize("fabric", ["sim", "loopback"])
def test_verdict_rule_and_place_are_in_wireshark_too(tmp_path: Path, fabric: str) -> None:
    record(SMALL, tmp_path, fabric=fabric)
    capture = tmp_path / "capture.pcapng"
    assert read(capture, "frame.number", only="_ws.malformed") == []
    refused = read(capture, "ip.src", "icmp.type", "frame.comment", only='frame.comment contains "no-ping"')
    assert refused
    assert {row[0] for row in refused} == {"100.96.0.12"}
    names = {row[0] for row in read(capture, "frame.interface_name")}
    assert names == {"edge:acme", "alice:acme"}
    times = [float(row[0]) for row in read(capture, "frame.time_epoch")]
    assert min(times) > 1_700_000_000
