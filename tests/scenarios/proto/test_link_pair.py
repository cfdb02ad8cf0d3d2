"""What a firewall on a path lets pass."""

from __future__ import annotations

from random import Random

from scenarios.proto.link_pair import LinkPair, Traffic
from scenarios.proto.link_profile import LinkProfile, PathProfile


def pair(**profile) -> LinkPair:
    return LinkPair.of(PathProfile.both(LinkProfile(**profile)), Random("up"), Random("down"))


def test_a_firewall_stops_a_transport_or_one_port_of_it_and_counts() -> None:
    path, told = pair(), []
    path.on_filtered = told.append
    assert path.admits("udp", 443, [b"12"])
    path.block([Traffic("udp", 443)])
    assert not path.admits("udp", 443, [b"12", b"345"])
    assert path.admits("udp", 51820, [b"12"]) and path.admits("tcp", 443, [b"12"])
    path.block([Traffic("tcp")])
    assert not path.admits("tcp", 443, [b"1"]) and not path.admits("udp", 443, [b"1"]), (
        "one more, not another"
    )
    assert (path.filtered, told) == (4, [2, 3, 1, 1])
    path.unblock()
    assert path.admits("tcp", 443, [b"1"]) and path.admits("udp", 443, [b"1"])


def test_a_black_hole_takes_segments_too() -> None:
    path = pair()
    assert path.passes(bytes(1500))
    path.swallow = lambda datagram, size: datagram is None and size > 1000
    assert not path.passes(bytes(1001)) and path.passes(bytes(1000))
    assert path.passing([bytes(2000)], 28) == [bytes(2000)]
    assert path.swallowed == 1


def test_the_mtu_of_a_path_is_the_smaller_one() -> None:
    assert pair().mtu is None
    assert pair(mtu=1400).mtu == 1400
    both = PathProfile(LinkProfile(mtu=1300), LinkProfile())
    assert LinkPair.of(both, Random("up"), Random("down")).mtu == 1300
