"""A TUN device and the kernel of this namespace: prints what came of it as JSON."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
from typing import Any

from connectors.tun import DeviceGone, Tun
from edge.errors import PoplabError
from edge.proto.ip import UDP, build_udp, parse_untrusted, transport_checksum, udp_payload

OWN, PEER = "10.99.0.1", "10.99.0.2"
UDP_SEGMENT = 103


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def receive(tun: Tun, count: int) -> list[bytearray]:
    """UDP packets, so many of them."""
    found: list[bytearray] = []
    deadline = time.monotonic() + 5
    while len(found) < count and time.monotonic() < deadline:
        tun.poll(0.1)
        found += [p for p in tun.receive() if p[0] >> 4 == 4 and parse_untrusted(p).protocol == UDP]
    return found


def is_right(packet: bytearray) -> bool:
    header = parse_untrusted(packet)
    segment = packet[header.header_length :]
    return transport_checksum(header.source, header.destination, UDP, segment) == 0


def traffic() -> dict[str, Any]:
    with Tun.open("probe0", mtu=1300) as tun:
        ip("address", "add", f"{OWN}/24", "dev", "probe0")
        ip("link", "set", "probe0", "up")
        shown = subprocess.run(
            ["ip", "link", "show", "probe0"], check=True, capture_output=True, text=True
        ).stdout
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((OWN, 5000))
            sock.settimeout(5)
            sock.sendto(b"one", (PEER, 6000))
            [one] = receive(tun, 1)
            data = os.urandom(10_000)
            segments = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 1000))]
            sock.sendmsg([data], segments, 0, (PEER, 6000))
            many = receive(tun, 10)
            packets = [
                build_udp(socket.inet_aton(PEER), socket.inet_aton(OWN), 6000, 5000, bytes([n]) * 100)
                for n in range(5)
            ]
            tun.send([*packets, bytearray(b"\x99 no packet")])
            got = [sock.recvfrom(2000) for _ in packets]
        return {
            "mtu": int(shown.split(" mtu ")[1].split()[0]),
            "index": tun.index == socket.if_nametoindex("probe0"),
            "one": bytes(udp_payload(one, parse_untrusted(one))) == b"one" and is_right(one),
            "many": b"".join(bytes(udp_payload(p, parse_untrusted(p))) for p in many) == data,
            "sizes": sorted({len(p) for p in many}),
            "right": all(map(is_right, many)),
            "got": got == [(bytes([n]) * 100, (PEER, 6000)) for n in range(5)],
            "drops": tun.drops.total(),
        }


def refused(name: str, mtu: int = 1300) -> list[Any]:
    try:
        Tun.open(name, mtu=mtu).close()
    except PoplabError as error:
        return [error.exit_code, str(error)]
    return [0, ""]


def gone() -> list[Any]:
    with Tun.open("probe0", mtu=1300) as tun:
        ip("link", "set", "probe0", "up")
        ip("link", "delete", "probe0")
        try:
            tun.receive()
        except DeviceGone as error:
            return [error.exit_code, str(error)]
    return [0, ""]


def main() -> None:
    with Tun.open("taken", mtu=1300):
        taken = refused("taken")
    answers = {
        "traffic": traffic(),
        "taken": taken,
        "again": refused("taken"),  # it vanished with its descriptor
        "lo": refused("lo"),
        "long": refused("a" * 16),
        "pattern": refused("tun%d"),
        "mtu": refused("probe0", mtu=20),
        "gone": gone(),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
