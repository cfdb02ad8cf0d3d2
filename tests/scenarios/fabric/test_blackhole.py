"""What black holes take, by the look of a datagram."""

from __future__ import annotations

import pytest

from scenarios.fabric.blackhole import Larger, data


@pytest.mark.parametrize(
    ("what", "datagram", "taken"),
    [
        ("a WireGuard initiation", b"\x01" + bytes(147), False),
        ("a WireGuard keepalive", b"\x04" + bytes(31), False),
        ("WireGuard data", b"\x04" + bytes(63), True),
        ("a QUIC Initial", b"\xc3" + bytes(1199), False),
        ("a QUIC acknowledgment", b"\x5a" + bytes(39), False),
        ("an IP packet in a QUIC DATAGRAM frame", b"\x45" + bytes(79), True),
        ("nothing", b"", False),
        ("a segment of TCP", None, False),
    ],
)
def test_data_vanishes_and_signs_of_life_pass(what: str, datagram: bytes | None, taken: bool) -> None:
    assert data(datagram, 100) is taken, what


@pytest.mark.parametrize("datagram", [bytes(600), None])
def test_size_is_that_of_the_ip_packet_whatever_is_in_it(datagram: bytes | None) -> None:
    assert not Larger(628)(datagram, 628)
    assert Larger(627)(datagram, 628)
