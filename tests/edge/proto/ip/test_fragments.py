"""Fragments are judged as datagrams (P5 to P8), in any order, within bounds."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import (
    FragmentKind,
    FragmentTable,
    build_packet,
    build_tcp,
    build_udp,
    checksum,
    fragment_ipv4,
    parse_untrusted,
)
from edge.proto.types import NEVER, BadPacket, DropReason

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
A6, B6 = bytes([0xFD] + [0] * 15), bytes([0xFD] + [1] * 15)
UDP, TCP = 17, 6
FIRST, FOLLOW, HELD, DROP = FragmentKind.FIRST, FragmentKind.FOLLOW, FragmentKind.HELD, FragmentKind.DROP


def piece(start, end, more=True, *, ident=1, protocol=UDP, source=A, data=None):
    """Bytes `start` to `end` of a datagram."""
    body = (
        data
        if data is not None
        else (bytes([0x13, 0xC4, 0x13, 0xC4, 0, 200, 0, 0]) + bytes(end))[: end - start]
    )
    packet = build_packet(source, B, protocol, body, ident=ident, dont_fragment=False)
    packet[6:8] = ((0x2000 if more else 0) | start >> 3).to_bytes(2, "big")
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(packet[:20]).to_bytes(2, "big")
    return packet


def piece6(start, end, more=True, *, ident=1, claims=UDP):
    body = (bytes([0x13, 0xC4, 0x13, 0xC4, 0, 200, 0, 0]) + bytes(end))[: end - start]
    header = bytes([claims, 0]) + (start | more).to_bytes(2, "big") + ident.to_bytes(4, "big")
    return build_packet(A6, B6, 44, header + body)


class Gate:
    """Feeds a table as a forwarder does and counts where every packet went."""

    def __init__(self, table=None, verdict="allow"):
        self.table = FragmentTable(64, 1 << 20) if table is None else table
        self.verdict = verdict
        self.out = []
        self.drops = []
        self.sent = 0

    def send(self, packet, ingress="hq", now=0.0):
        self.sent += 1
        header = parse_untrusted(packet)
        decision = self.table.admit(packet, header, ingress, now)
        self.drops += [dead.reason for dead in decision.dead]
        if decision.kind is FIRST:
            self.out.append((bytes(packet), self.verdict))
            for held, _ in self.table.settle(header, self.verdict, ingress, now):
                self.out.append((bytes(held), self.verdict))
        elif decision.kind is FOLLOW:
            self.out.append((bytes(packet), decision.verdict))
        elif decision.kind is DROP:
            self.drops.append(decision.reason)
        assert self.sent == len(self.out) + len(self.drops) + self.table.held
        return decision.kind

    def expire(self, now):
        self.drops += [dead.reason for dead in self.table.expire(now)]
        assert self.sent == len(self.out) + len(self.drops) + self.table.held


PIECES = [piece(0, 64), piece(64, 128), piece(128, 200, more=False)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("verdict", ["allow", "block"])
def test_the_verdict_on_the_first_governs_all_in_any_order(order, verdict):
    """P7: blocking a port blocks the fragments that do not show it."""
    gate = Gate(verdict=verdict)
    for index in order:
        gate.send(PIECES[index])
    assert sorted(gate.out) == sorted((bytes(packet), verdict) for packet in PIECES)
    assert (gate.drops, gate.table.held, gate.table.held_bytes, gate.table.datagrams) == ([], 0, 0, 0)


def test_kinds_in_order_and_before_the_first():
    gate = Gate()
    assert [gate.send(packet) for packet in PIECES] == [FIRST, FOLLOW, FOLLOW]
    gate = Gate()
    assert [gate.send(packet) for packet in reversed(PIECES)] == [HELD, HELD, FIRST]


def test_fragments_that_a_router_cut_pass():
    gate = Gate()
    for packet in fragment_ipv4(build_udp(A, B, 1, 2, bytes(60000), ident=9, dont_fragment=False), 576):
        gate.send(packet)
    assert (gate.drops, gate.table.datagrams) == ([], 0)


@pytest.mark.parametrize(
    "packets",
    list(permutations([piece6(0, 64), piece6(64, 128, claims=60), piece6(128, 130, False, claims=6)])),
)
def test_later_ipv6_fragments_follow_whatever_protocol_they_claim(packets):
    gate = Gate()
    for packet in packets:
        gate.send(packet)
    assert (len(gate.out), gate.drops, gate.table.datagrams) == (3, [], 0)


OVERLAPS = {
    "rewrites the first": [piece(0, 64), piece(8, 72), piece(72, 80, False)],
    "one block": [piece(0, 64), piece(56, 128), piece(128, 136, False)],
    "within": [piece(0, 64), piece(64, 160), piece(80, 96), piece(160, 168, False)],
    "around": [piece(0, 64), piece(80, 96), piece(64, 160), piece(160, 168, False)],
    "same start": [piece(0, 64), piece(64, 128), piece(64, 136), piece(136, 144, False)],
    "two ends": [piece(0, 64), piece(64, 100, False), piece(128, 200, False)],
    "beyond the end": [piece(0, 64), piece(72, 100, False), piece(104, 128)],
    "end within": [piece(0, 64), piece(128, 192), piece(64, 100, False)],
    "two firsts": [piece(0, 64), piece(0, 32), piece(64, 72, False)],
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_an_overlap_kills_the_datagram_in_every_order(name):
    """P6: what went out before can never become whole, nothing goes out after."""
    for packets in permutations(OVERLAPS[name]):
        gate = Gate()
        killed = False
        for packet in packets:
            before = len(gate.out)
            gate.send(packet)
            if killed:
                assert len(gate.out) == before
            killed = killed or DropReason.FRAGMENT_OVERLAP in gate.drops
            if gate.table.datagrams == 0:
                break  # delivered without an overlap: what comes later belongs to no datagram
        else:
            assert killed
            assert set(gate.drops) == {DropReason.FRAGMENT_OVERLAP}
            assert gate.table.held == 0
            assert not is_whole([sent for sent, _ in gate.out])


def is_whole(packets):
    """Whether a receiver could put these together."""
    spans = []
    for packet in packets:
        header = parse_untrusted(packet)
        start = header.fragment_offset
        spans.append((start, start + header.total_length - header.fragment_start, header.more_fragments))
    at = 0
    for start, end, more in sorted(spans):
        if start != at:
            return False
        at = end
        if not more:
            return True
    return False


def test_a_copy_dies_alone():
    gate = Gate()
    for index in (0, 0, 1, 1, 2):
        gate.send(PIECES[index])
    assert [packet for packet, _ in gate.out] == [bytes(packet) for packet in PIECES]
    assert gate.drops == [DropReason.FRAGMENT_OVERLAP] * 2


def test_only_one_of_two_copies_with_different_data_goes_on():
    gate = Gate()
    gate.send(PIECES[0])
    gate.send(PIECES[1])
    gate.send(piece(64, 128, data=b"x" * 64))
    assert [packet for packet, _ in gate.out] == [bytes(PIECES[0]), bytes(PIECES[1])]


@pytest.mark.parametrize("other", [{"ident": 2}, {"source": bytes([10, 0, 0, 9])}, {"protocol": 99}])
def test_fragments_of_another_datagram_do_not_merge(other):
    gate = Gate()
    gate.send(PIECES[0])
    assert gate.send(piece(64, 128, **other)) is HELD


def test_fragments_of_another_tunnel_do_not_merge():
    gate = Gate()
    gate.send(PIECES[0], ingress="hq")
    assert gate.send(PIECES[1], ingress="evil") is HELD
    assert gate.send(PIECES[1], ingress="hq") is FOLLOW


def test_two_tables_share_nothing():
    """P4: the same name in two virtual networks."""
    red, blue = Gate(), Gate()
    red.send(PIECES[0])
    assert blue.send(PIECES[1]) is HELD
    assert red.send(PIECES[1]) is FOLLOW


def test_fragments_wait_only_so_long():
    gate = Gate(FragmentTable(64, 1 << 20, timeout=30.0))
    gate.send(PIECES[1], now=100.0)
    assert gate.table.poll_timeout() == 130.0
    gate.expire(129.9)
    assert gate.table.held == 1
    gate.expire(130.0)
    assert gate.drops == [DropReason.FRAGMENT_ORPHAN]
    assert (gate.table.poll_timeout(), gate.table.held_bytes, gate.table.datagrams) == (NEVER, 0, 0)


def test_a_late_fragment_does_not_inherit_an_old_verdict():
    gate = Gate(FragmentTable(64, 1 << 20, timeout=30.0))
    gate.send(PIECES[0], now=0.0)
    assert gate.send(PIECES[1], now=30.0) is HELD


def test_without_a_verdict_fragments_wait():
    table = FragmentTable(64, 1 << 20)
    header = [parse_untrusted(packet) for packet in PIECES]
    assert table.admit(PIECES[0], header[0], "hq", 0.0).kind is FIRST
    assert table.admit(PIECES[1], header[1], "hq", 0.0).kind is HELD
    assert table.settle(header[0], "allow", "hq", 0.0) == [(PIECES[1], header[1])]
    assert table.settle(header[0], "allow", "elsewhere", 0.0) == []


def test_a_flood_of_first_fragments_is_bounded_and_leaves_others_alone():
    """P8, many datagrams: the flooder displaces itself."""
    gate = Gate(FragmentTable(64, 1 << 20))
    for ident in range(2000):
        gate.send(piece(0, 64, ident=ident), ingress="flood")
        assert gate.table.datagrams <= 64
    for index in (1, 0, 2):
        gate.send(PIECES[index], ingress="hq")
        for ident in range(100):
            gate.send(piece(0, 64, ident=5000 + 100 * index + ident), ingress="flood")
    assert [packet for packet, _ in gate.out if packet in map(bytes, PIECES[1:])] == [
        bytes(p) for p in PIECES[1:]
    ]


def test_a_flood_of_later_fragments_is_bounded_and_leaves_others_alone():
    """P8, many bytes."""
    gate = Gate(FragmentTable(1000, 20_000))
    for ident in range(500):
        gate.send(piece(64, 128, ident=ident), ingress="flood")
        assert gate.table.held_bytes <= 20_000
    assert set(gate.drops) == {DropReason.FRAGMENT_LIMIT}
    assert [gate.send(PIECES[index]) for index in (1, 2, 0)] == [HELD, HELD, FIRST]


def test_a_datagram_that_lost_a_fragment_to_the_limit_is_dead():
    """It can never become whole, so its first fragment need not bother anybody."""
    gate = Gate(FragmentTable(64, 600))
    assert gate.send(PIECES[1]) is DROP
    assert gate.send(PIECES[0]) is DROP
    assert gate.drops == [DropReason.FRAGMENT_LIMIT] * 2


def test_a_flood_over_many_tunnels_is_bounded():
    gate = Gate(FragmentTable(16, 8_000))
    for number in range(400):
        gate.send(piece(64, 128, ident=number), ingress=number % 40)
        assert gate.table.datagrams <= 16
        assert gate.table.held_bytes <= 8_000
    gate.expire(1e9)
    assert (gate.table.datagrams, gate.table.held, gate.table.held_bytes) == (0, 0, 0)


def test_a_datagram_has_a_limited_number_of_fragments():
    gate = Gate()
    gate.send(piece(0, 8))
    for start in range(8, 8 * 1000, 8):
        gate.send(piece(start, start + 8))
    assert len(gate.out) < 200
    assert set(gate.drops) == {DropReason.FRAGMENT_LIMIT}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.integers(1, 6),
            st.booleans(),
            st.integers(0, 2),
            st.sampled_from("ab"),
            st.integers(0, 20),
        ),
        max_size=40,
    )
)
def test_nothing_is_lost_from_the_books_and_no_overlap_goes_out(steps):
    gate = Gate(FragmentTable(6, 4_000, timeout=30.0))
    now = 0.0
    for start, blocks, more, ident, ingress, wait in steps:
        now += wait
        gate.send(piece(start * 8, (start + blocks) * 8, more or start == 0, ident=ident), ingress, now)
        assert gate.table.datagrams <= 6
        assert gate.table.held_bytes <= 4_000
        assert (gate.table.poll_timeout() == NEVER) == (gate.table.datagrams == 0)
    gate.expire(now + 30.0)
    assert (gate.table.datagrams, gate.table.held, gate.table.held_bytes) == (0, 0, 0)


@pytest.mark.parametrize("size", [8, 16])
def test_a_first_fragment_without_all_of_the_tcp_header_is_tiny(size):
    """P5, RFC 1858 3: flags and ports in two packets."""
    segment = bytes(build_tcp(A, B, 1, 80, sequence=1, flags=2))[20:]
    assert reason_of(piece(0, size, protocol=TCP, data=segment[20 - 20 : size])) is DropReason.FRAGMENT_TINY


def test_a_first_fragment_without_all_tcp_options_is_tiny():
    segment = bytes(build_tcp(A, B, 1, 80, sequence=1, flags=2, options=bytes(12)))[20:]
    assert reason_of(piece(0, 24, protocol=TCP, data=segment[:24])) is DropReason.FRAGMENT_TINY
    parse_untrusted(piece(0, 32, protocol=TCP, data=segment[:32]))


@pytest.mark.parametrize("offset", [8, 16])
def test_a_later_fragment_within_the_tcp_header_is_tiny(offset):
    """P5 and P6, RFC 3128: it could rewrite the flags of the first."""
    assert reason_of(piece(offset, offset + 64, protocol=TCP)) is DropReason.FRAGMENT_TINY
    parse_untrusted(piece(24, 88, protocol=TCP))


def test_an_empty_fragment_is_tiny():
    assert reason_of(piece(64, 64, data=b"")) is DropReason.FRAGMENT_TINY


def test_fragments_that_cannot_belong_to_a_datagram():
    assert reason_of(piece(64, 73)) is DropReason.BAD_LENGTH
    assert reason_of(piece(65528, 65536, more=False)) is DropReason.BAD_LENGTH


def reason_of(packet):
    with pytest.raises(BadPacket) as caught:
        parse_untrusted(packet)
    return caught.value.reason
