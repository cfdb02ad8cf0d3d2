"""Reads captures back, without Wireshark."""

from __future__ import annotations

from pathlib import Path
from struct import unpack_from
from typing import NamedTuple


class Captured(NamedTuple):
    """`at` is nanoseconds since 1970."""

    interface: str
    at: int
    inbound: bool
    packet: bytes
    comment: str

    @property
    def flow(self) -> tuple[bytes, bytes, bytes]:
        """What is the same at every place that an IPv4 packet without options passes."""
        return self.packet[4:6], self.packet[12:20], self.packet[20:]


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of all; both lengths must agree."""
    found, at = [], 0
    while at < len(data):
        kind, length = unpack_from("<II", data, at)
        assert length % 4 == 0
        assert unpack_from("<I", data, at + length - 4) == (length,)
        found.append((kind, data[at + 8 : at + length - 4]))
        at += length
    return found


def packets(folder: Path) -> list[Captured]:
    """All of the capture that a run has left in `folder`, in its order."""
    names: list[str] = []
    found = []
    for kind, body in blocks((folder / "capture.pcapng").read_bytes()):
        if kind == 1:
            names.append(_options(body, 8)[2].decode())
        elif kind == 6:
            number, high, low, length, _ = unpack_from("<IIIII", body)
            options = _options(body, 20 + length + -length % 4)
            found.append(
                Captured(
                    names[number],
                    high << 32 | low,
                    options[2] == b"\1\0\0\0",
                    body[20 : 20 + length],
                    options[1].decode(),
                )
            )
    return found


def _options(body: bytes, at: int) -> dict[int, bytes]:
    found = {}
    while True:
        code, length = unpack_from("<HH", body, at)
        if not code:
            return found
        found[code] = body[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
