"""Black holes: what of a tunnel's traffic vanishes though the tunnel looks alive."""

from __future__ import annotations

from edge.proto.wireguard.messages import TAG_SIZE, TRANSPORT_HEADER_SIZE, TYPE_TRANSPORT
from scenarios.proto.link import IPV4_UDP

KEEPALIVE_SIZE = TRANSPORT_HEADER_SIZE + TAG_SIZE


class Larger:
    """Datagrams whose IP packet has more than `size` bytes: a path MTU black hole (RFC 2923)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, datagram: bytes) -> bool:
        return len(datagram) + IPV4_UDP > self.size


def data(datagram: bytes) -> bool:
    """Transport data; handshakes and keepalives pass."""
    return len(datagram) > KEEPALIVE_SIZE and datagram[0] == TYPE_TRANSPORT
