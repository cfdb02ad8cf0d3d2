"""Only what belongs behind a tunnel enters it, and leaves it (BCP 38)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from connectors.proto.border import KNOWN, Border
from edge.proto.ip import build_udp
from edge.proto.types import DropReason

PREFIXES = [ip_network("10.0.50.0/24"), ip_network("100.96.0.2/32"), ip_network("fd00:50::/64")]


def packet(source: str, destination: str) -> bytearray:
    ends = ip_address(source).packed, ip_address(destination).packed
    return build_udp(*ends, 1000, 2000, b"payload")


@pytest.mark.parametrize(
    ("source", "destination"),
    [("10.0.50.7", "10.9.0.1"), ("100.96.0.2", "10.9.0.1"), ("fd00:50::7", "fd01::1")],
)
def test_what_belongs_passes_untouched(source: str, destination: str):
    border = Border(PREFIXES)
    for _ in range(2):  # the second time by heart
        out, back = packet(source, destination), packet(destination, source)
        copies = bytes(out), bytes(back)
        assert border.outward([out]) == [out] and border.inward([back]) == [back]
        assert (bytes(out), bytes(back)) == copies
    assert not border.drops


def test_what_does_not_belong_dies_counted():
    border = Border(PREFIXES)
    strange = packet("10.0.51.7", "10.9.0.1"), packet("10.9.0.1", "10.0.51.7")
    assert border.outward([strange[0]]) == [] and border.inward([strange[1]]) == []
    assert border.drops == {DropReason.SPOOFED_SOURCE: 1, DropReason.NO_ROUTE: 1}


def test_who_looks_on_hears_what_dies():
    border = Border(PREFIXES)
    heard: list[tuple[DropReason, bytearray]] = []
    border.on_drop = lambda reason, packet: heard.append((reason, packet))
    good, foreign, short = packet("10.0.50.7", "10.9.0.1"), packet("10.0.51.7", "10.9.0.1"), bytearray(3)
    border.outward([good, foreign, short])
    assert heard == [(DropReason.SPOOFED_SOURCE, foreign), (DropReason.BAD_LENGTH, short)]


def test_what_is_no_packet_dies_counted():
    border = Border([ip_network("0.0.0.0/0"), ip_network("::/0")])
    crumbs = [bytearray(), bytearray(b"\x45" * 19), bytearray(b"\x75" * 60), bytearray(b"\x60" * 39)]
    assert border.outward(crumbs) == []
    assert border.drops.total() == 4


def test_many_strangers_are_not_remembered_for_ever():
    border = Border(PREFIXES)
    for number in range(KNOWN + 10):
        assert not border.holds((0x0B000000 + number).to_bytes(4, "big"))
    assert border.remembered <= KNOWN
    assert border.holds(ip_address("10.0.50.7").packed)
