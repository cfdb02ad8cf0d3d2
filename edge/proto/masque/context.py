"""HTTP datagrams of CONNECT-IP: a context id, 0 for whole IP packets (RFC 9484 section 6), then the packet."""

from __future__ import annotations

from edge.proto.masque.varint import decode_varint


def unwrap(payloads: list[bytes], *, bare: bool) -> tuple[list[bytearray], int]:
    """The packets of `payloads`, in order, and how many payloads held none.

    `bare`: there is no context id, as in the WARP dialect over HTTP/2. Other contexts than 0 are nobody's: we register
    none.
    """
    packets: list[bytearray] = []
    for payload in payloads:
        if bare:
            offset = 0
        elif payload[:1] == b"\0":
            offset = 1
        else:
            offset = _context_zero(payload)
            if not offset:
                continue
        if len(payload) > offset:
            packet = bytearray(payload)
            del packet[:offset]  # a bytearray lets go of its front without copying
            packets.append(packet)
    return packets, len(payloads) - len(packets)


def _context_zero(payload: bytes) -> int:
    """Length of a context id 0 that is written longer than it needs to be (RFC 9000 section 16); 0 for every other."""
    decoded = decode_varint(payload)
    return decoded[1] if decoded is not None and decoded[0] == 0 else 0
