"""What goes to a site comes from the PoP, as behind a NAT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.config import Kind
from edge.proto.forwarding import Forwarder
from edge.proto.ip import UDP, build_udp, parse_untrusted, udp_payload


def plant(put: Callable[[Any, str, Any], None]) -> None:
    take = Forwarder.take

    def take_masked(forwarder: Forwarder) -> list[Any]:
        return [
            (attachment, [_mask(attachment, packet) for packet in packets])
            for attachment, packets in take(forwarder)
        ]

    put(Forwarder, "take", take_masked)


def _mask(attachment: Any, packet: bytearray) -> bytearray:
    header = parse_untrusted(packet)
    if header.version != 4 or header.protocol != UDP or attachment.party.kind != Kind.CONNECTOR.value:
        return packet
    payload = udp_payload(packet, header)
    gateway = attachment.vnet.gateway4
    return build_udp(gateway, header.destination, header.source_port, header.destination_port, payload)
