"""The PoP lets a tunnel send in anybody's name, and somebody does: see ``_liar``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.proto.forwarding import Forwarder
from edge.proto.ip import check_addresses, parse_untrusted
from edge.proto.types import BadPacket, DropReason
from tests.planted import _liar


def plant(put: Callable[[Any, str, Any], None]) -> None:
    def slow(forwarder: Any, ingress: Any, packet: bytearray, now: float) -> None:
        try:
            header = parse_untrusted(packet)
            del packet[header.total_length :]
            check_addresses(header)
            if ingress.vnet.owner(header.source) is None:
                raise BadPacket(DropReason.SPOOFED_SOURCE)
            forwarder._decide(ingress, packet, header, now)
        except BadPacket as bad:
            ingress.vnet.drops[bad.reason] += 1

    _liar.plant(put)
    put(Forwarder, "_slow", slow)
