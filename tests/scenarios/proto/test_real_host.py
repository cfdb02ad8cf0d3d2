"""The books of a host whose kernel is real, in memory: what passes its card is all that is known."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from edge.proto.ip import (
    Unreachable,
    build_icmp_echo,
    build_udp,
    checksum,
    fragment_ipv4,
    parse_untrusted,
    unreachable,
)
from edge.proto.types import DropReason
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger, Offence
from scenarios.proto.real_host import RealHost

PAIRS = [("100.96.0.12", "10.0.50.60"), ("fd00:96::12", "fd00:50::60")]


class Tap:
    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []

    def sent(self, host: Host, packets: Sequence[bytes], now: float) -> None:
        self.seen += [("sent", packet) for packet in packets]

    def received(self, host: Host, packets: Sequence[bytes], now: float) -> None:
        self.seen += [("received", packet) for packet in packets]


class Wire:
    """Two real hosts; what one sends the other gets."""

    def __init__(self, alice: str = PAIRS[0][0], pbx: str = PAIRS[0][1]) -> None:
        self.ledger = Ledger()
        self.alice = RealHost("alice", alice, vnet="acme", ledger=self.ledger)
        self.pbx = RealHost("hq/pbx", pbx, vnet="acme", ledger=self.ledger)

    def carry(self, *packets: bytes) -> None:
        self.alice.saw_sent(list(packets), 1.0)
        self.alice.saw([(True, packet) for packet in packets], 1.0)
        self.pbx.saw([(False, packet) for packet in packets], 1.1)

    def udp(self, data: bytes = b"hello", port: int = 5060) -> bytes:
        return bytes(build_udp(self.alice.packed, self.pbx.packed, 40000, port, data))

    @property
    def lawful(self) -> bool:
        return not any(self.ledger.offences.values())


@pytest.mark.parametrize(("alice", "pbx"), PAIRS)
def test_who_sent_how_much_is_in_the_books(alice: str, pbx: str) -> None:
    wire = Wire(alice, pbx)
    packets = [wire.udp(b"hello"), wire.udp(b"hi"), wire.udp(b"x", 99)]
    wire.carry(*packets)
    assert (wire.alice.counters["sent"], wire.pbx.counters["received"]) == (3, 3)
    seen = wire.pbx.seen[alice]
    assert (seen.packets, seen.bytes) == (3, sum(map(len, packets)))
    assert wire.pbx.port_bytes == {(alice, 5060): 7, (alice, 99): 1}
    assert wire.lawful and wire.ledger.received_packets == 3


def test_what_nobody_sent_is_forged() -> None:
    wire = Wire()
    wire.pbx.saw([(False, wire.udp())], 1.0)
    assert wire.pbx.counters["not_as_sent"] == 1
    assert wire.ledger.offences[Offence.FORGED] == 1


def test_what_is_for_others_is_misdelivered() -> None:
    wire = Wire()
    packet = bytes(build_udp(wire.alice.packed, ip_address("10.0.50.61").packed, 1, 2, b"x"))
    wire.alice.saw_sent([packet], 1.0)
    wire.pbx.saw([(False, packet)], 1.0)
    assert wire.pbx.counters["misdelivered"] == 1
    assert wire.ledger.offences[Offence.MISDELIVERED] == 1


def test_what_is_for_an_address_that_a_program_has_given_it_is_its_own() -> None:
    wire = Wire()
    more = ip_address("10.0.50.61").packed
    wire.pbx.has_besides = more.__eq__
    packet = bytes(build_udp(wire.alice.packed, more, 1, 2, b"x"))
    wire.carry(packet)
    assert wire.lawful and wire.ledger.received_packets == 1
    assert wire.pbx.counters["misdelivered"] == 0
    wire.carry(bytes(build_udp(wire.alice.packed, ip_address("10.0.50.62").packed, 1, 2, b"x")))
    assert wire.ledger.offences[Offence.MISDELIVERED] == 1


@pytest.mark.parametrize("damage", [b"", b"\x45", bytes(40), b"\x60" + bytes(10)])
def test_what_is_no_packet_is_counted(damage: bytes) -> None:
    wire = Wire()
    wire.pbx.saw([(False, damage)], 1.0)
    assert wire.pbx.counters["received"] == 1 and wire.ledger.received_packets == 0
    assert wire.pbx.counters.total() == 2, "it, and why"


def test_fragments_and_wrong_checksums_are_not_compared() -> None:
    wire = Wire()
    large = build_udp(wire.alice.packed, wire.pbx.packed, 1, 2, bytes(3000))
    large[6] &= ~0x40
    pieces = [bytes(piece) for piece in fragment_ipv4(large, 1500)]
    wire.carry(*pieces)
    broken = bytearray(wire.udp())
    broken[-1] ^= 1
    wire.pbx.saw([(False, bytes(broken))], 1.0)
    assert wire.pbx.counters["fragments"] == len(pieces)
    assert wire.pbx.counters["bad_checksum"] == 1
    assert wire.lawful


def test_an_error_counts_if_it_is_about_a_packet_of_its_own() -> None:
    wire = Wire()
    router, packet = ip_address("10.0.50.1").packed, wire.udp()
    foreign = bytes(build_udp(wire.pbx.packed, router, 1, 5060, b"hello"))
    for about in (packet, foreign):
        error = unreachable(about, parse_untrusted(about), router, Unreachable.PORT)
        assert error is not None
        error[16:20] = wire.alice.packed  # whoever it is really for
        error[10:12] = bytes(2)
        error[10:12] = checksum(error[:20]).to_bytes(2, "big")
        wire.alice.saw([(False, bytes(error))], 1.0)
    assert wire.alice.counters["icmp_errors"] == 1
    assert wire.alice.counters[DropReason.ICMP_UNSOLICITED] == 1
    assert [error.about for error in wire.alice.icmp_errors] == ["10.0.50.60:5060"]
    assert wire.lawful


def test_pings_are_compared_too() -> None:
    wire = Wire()
    wire.carry(bytes(build_icmp_echo(wire.alice.packed, wire.pbx.packed, ident=1, sequence=1, payload=b"x")))
    assert wire.pbx.seen[wire.alice.address].packets == 1 and wire.lawful


def test_a_tap_sees_everything_in_its_order() -> None:
    wire, tap = Wire(), Tap()
    wire.alice.tap = tap
    packets = [wire.udp(bytes([number])) for number in range(5)]
    ways = (True, False, False, True, False)
    wire.alice.saw(list(zip(ways, packets, strict=True)), 1.0)
    assert tap.seen == [
        ("sent" if out else "received", packet) for out, packet in zip(ways, packets, strict=True)
    ]


def test_watchers_hear_what_is_for_it() -> None:
    wire, heard = Wire(), []
    wire.pbx.watchers.append(lambda header, size: heard.append((header.destination_port, size)))
    wire.carry(wire.udp())
    assert heard == [(5060, len(wire.udp()))]
