"""Bogons (P14) and IPv4 addresses in IPv6 clothes (P13), as source and as destination."""

from ipaddress import ip_address

import pytest

from edge.proto.ip import build_udp, check_addresses, is_ordinary, parse_untrusted
from edge.proto.types import BadPacket, DropReason

ORDINARY = {4: "10.1.2.3", 6: "fd00::1"}
BOGONS = [
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "169.254.0.1", "169.254.169.254", "240.0.0.1",
    "255.255.255.254",
    "::", "::1", "::10.0.0.1", "fe80::1", "febf::1", "::ffff:10.0.0.1", "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2001::1", "2001:0:4136:e378::1", "2002:a00:1::1",
]  # fmt: skip
GROUPS = ["224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1", "ff0e::1"]
FINE = [
    "1.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.96.0.12", "192.0.2.1",
    "198.51.100.1", "203.0.113.1", "198.18.0.1", "169.253.1.1", "169.255.1.1", "126.1.1.1", "128.0.0.1",
    "223.255.255.254",
    "fd00::1", "fc00::1", "2001:db8::1", "2001:1::1", "2003::1", "2606:4700::1", "64:ff9c::1", "fec0::1",
    "1::",
]  # fmt: skip


def packet_of(source, destination):
    return parse_untrusted(build_udp(ip_address(source).packed, ip_address(destination).packed, 1, 2, b""))


def reason_of(source, destination):
    header = packet_of(source, destination)
    assert not is_ordinary(header)
    with pytest.raises(BadPacket) as caught:
        check_addresses(header)
    return caught.value.reason


def other(address):
    return ORDINARY[ip_address(address).version]


@pytest.mark.parametrize("address", BOGONS)
def test_bogons_are_dropped(address):
    assert reason_of(address, other(address)) is DropReason.BOGON
    assert reason_of(other(address), address) is DropReason.BOGON


@pytest.mark.parametrize("address", GROUPS)
def test_groups_are_multicast_as_destination_and_bogons_as_source(address):
    assert reason_of(address, other(address)) is DropReason.BOGON
    assert reason_of(other(address), address) is DropReason.MULTICAST


@pytest.mark.parametrize("address", FINE)
def test_unicast_passes(address):
    for header in (packet_of(address, other(address)), packet_of(other(address), address)):
        check_addresses(header)
        assert is_ordinary(header)
