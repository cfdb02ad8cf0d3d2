"""Black holes: what of a tunnel's traffic vanishes though the tunnel looks alive."""

from __future__ import annotations

from edge.proto.wireguard.messages import TAG_SIZE, TRANSPORT_HEADER_SIZE, TYPE_TRANSPORT

KEEPALIVE_SIZE = TRANSPORT_HEADER_SIZE + TAG_SIZE
QUIC_FORM = 0xC0  # header form and fixed bit (RFC 9000, section 17)
QUIC_SHORT = 0x40
QUIC_SIGN_OF_LIFE = 56  # bytes: acknowledgments and pings; a DATAGRAM frame with an IP packet is larger


class Larger:
    """IP packets that have more than `size` bytes: a path MTU black hole (RFC 2923)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, datagram: bytes | None, size: int) -> bool:
        return size > self.size


def data(datagram: bytes | None, size: int) -> bool:
    """Transport data of WireGuard and of QUIC; handshakes, keepalives and acknowledgments pass, and all of TCP."""
    if not datagram:
        return False
    if datagram[0] & QUIC_FORM == QUIC_SHORT:
        return len(datagram) > QUIC_SIGN_OF_LIFE
    return len(datagram) > KEEPALIVE_SIZE and datagram[0] == TYPE_TRANSPORT
