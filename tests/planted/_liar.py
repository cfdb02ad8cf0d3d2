"""Devices that lie: each datagram of a client is followed by one that says it comes from the next address.

That is no bug of ours; with the source check in its place it costs a counted drop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.proto.ip import UDP, build_udp, parse_untrusted
from scenarios.proto.premises import Port


def plant(put: Callable[[Any, str, Any], None]) -> None:
    poll = Port.poll_packets

    def and_lie(port: Port) -> list[bytearray]:
        packets = poll(port)
        lies = []
        for packet in packets:
            header = parse_untrusted(packet)
            if header.version == 4 and header.protocol == UDP:
                neighbour = header.source[:3] + bytes([header.source[3] + 1])
                if neighbour != header.destination:
                    lies.append(
                        build_udp(
                            neighbour, header.destination, 4000, header.destination_port, b"it was not me"
                        )
                    )
        return [*packets, *lies]

    put(Port, "poll_packets", and_lie)
