"""Cutting IPv4 packets: what comes out is whole again when put together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import build_packet, build_udp, checksum, fragment_ipv4, parse_untrusted

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def packet_of(payload, options=b""):
    packet = build_packet(A, B, 99, options + payload, ident=0xABCD, dont_fragment=False)
    packet[0] = 0x45 + len(options) // 4
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(packet[: 20 + len(options)]).to_bytes(2, "big")
    return packet


def put_together(pieces):
    """The payload, checking that the pieces follow each other and only the last says so."""
    payload = bytearray()
    for piece in pieces:
        header = parse_untrusted(piece)
        assert (header.source, header.destination, header.fragment_id) == (A, B, 0xABCD)
        assert header.fragment_offset == len(payload)
        assert header.more_fragments == (piece is not pieces[-1])
        assert header.total_length == len(piece)
        payload += piece[header.header_length :]
    return bytes(payload)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 4000), st.integers(68, 1500), st.integers(68, 1500))
def test_the_pieces_fit_and_are_the_whole_even_when_cut_twice(size, mtu, second_mtu):
    payload = bytes(number % 251 for number in range(size))
    pieces = fragment_ipv4(packet_of(payload), mtu)
    assert all(len(piece) <= mtu for piece in pieces)
    again = [small for piece in pieces for small in fragment_ipv4(piece, second_mtu)]
    assert all(len(piece) <= min(mtu, second_mtu) for piece in again)
    for result in (pieces, again):
        if len(result) > 1:
            assert put_together(result) == payload


def test_a_packet_that_fits_is_not_touched():
    packet = packet_of(bytes(100))
    before = bytes(packet)
    assert fragment_ipv4(packet, 120) == [before]
    assert fragment_ipv4(packet, 120)[0] is packet


def test_only_copied_options_go_with_later_fragments():
    options = bytes([7, 7, 4, 0, 0, 0, 0]) + bytes([148, 4, 0, 0]) + b"\0"
    first, later = fragment_ipv4(packet_of(bytes(1000), options), 800)
    assert first[20:32] == options
    assert parse_untrusted(later).header_length == 24
    assert later[20:24] == bytes([148, 4, 0, 0])


def test_a_packet_that_must_not_be_fragmented_is_refused():
    with pytest.raises(ValueError):
        fragment_ipv4(build_udp(A, B, 1, 2, bytes(1500)), 1420)


def test_an_mtu_that_no_link_has_is_refused():
    with pytest.raises(ValueError):
        fragment_ipv4(packet_of(bytes(100)), 67)
