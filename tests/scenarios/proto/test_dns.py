"""DNS: what a zone holds is answered, what a stranger sends is survived, and a resolver believes only true answers."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import dns.flags
import dns.message
import dns.opcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import NEVER, BadPacket
from scenarios.proto.dns_message import (
    EDNS_SIZE,
    MAX_RECORDS,
    PLAIN_SIZE,
    Code,
    Question,
    query,
    query_untrusted,
    refusal,
    reply_untrusted,
)
from scenarios.proto.dns_resolver import LAST_PORT, DnsResolver, Lookup, LookupEnded, Status
from scenarios.proto.dns_server import LOGGED, MAX_CHAIN, DnsServer, Zone
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger
from scenarios.proto.traffic import TrafficSource
from scenarios.proto.traffic_profile import Profile
from scenarios.proto.udp_echo import UdpProbe

ALICE = ("100.96.0.12", 40000)
FIRST, SECOND = ("10.0.50.53", 53), ("10.0.50.54", 53)


def zone() -> Zone:
    made = Zone("test", negative_ttl=30)
    made.add_host("pbx.hq.test", "10.0.50.60", ttl=120)
    made.add("pbx.hq.test", "AAAA", "FD00:50:0::60")
    made.add("Sip.Test.", "CNAME", "pbx.hq.test")
    made.add("_sip._udp.test", "SRV", "10 5 5060 pbx.hq.test")
    for n in range(40):
        made.add("many.test", "A", f"10.0.60.{n}")
    for n in range(200):
        made.add("toomany.test", "A", f"10.0.61.{n}")
    return made


def reverse() -> Zone:
    made = Zone("0.10.in-addr.arpa")
    made.add("60.50.0.10.in-addr.arpa", "PTR", "pbx.hq.test")
    return made


def ask(server: DnsServer, data: bytes, source: tuple[str, int] = ALICE) -> bytes:
    server.handle_datagram(53, source, data, 1.0)
    answers = server.poll_transmit()
    assert all(answer[:2] == (53, source) and answer[2] for answer in answers)
    return answers[0][2] if answers else b""


class World:
    """A resolver and its servers; `carry` delivers what they send, unless told otherwise."""

    def __init__(self, **options: object) -> None:
        self.server = DnsServer([zone(), reverse()])
        self.resolver = DnsResolver([FIRST, SECOND], Random(1), **options)  # type: ignore[arg-type]

    def carry(self, now: float = 0.0) -> None:
        for port, _server, data in self.resolver.poll_transmit():
            answer = ask(self.server, data, (ALICE[0], port))
            self.resolver.handle_datagram(port, FIRST, answer, now)

    def look_up(self, name: str, kind: str = "A") -> Lookup:
        lookup = self.resolver.look_up(name, 0.0, kind)
        self.carry(0.02)
        return lookup


# Answers


@pytest.mark.parametrize(
    ("name", "kind", "status", "data"),
    [
        ("pbx.hq.test", "A", Status.ANSWERED, ("10.0.50.60",)),
        ("PBX.hq.Test.", "A", Status.ANSWERED, ("10.0.50.60",)),
        ("pbx.hq.test", "AAAA", Status.ANSWERED, ("fd00:50::60",)),
        ("sip.test", "A", Status.ANSWERED, ("10.0.50.60",)),
        ("sip.test", "CNAME", Status.ANSWERED, ("pbx.hq.test",)),
        ("_sip._udp.test", "SRV", Status.ANSWERED, ("10 5 5060 pbx.hq.test",)),
        ("60.50.0.10.in-addr.arpa", "PTR", Status.ANSWERED, ("pbx.hq.test",)),
        ("many.test", "A", Status.ANSWERED, tuple(f"10.0.60.{n}" for n in range(40))),
        ("pbx.hq.test", "SRV", Status.NO_DATA, ()),
        ("pbx.hq.test", "TXT", Status.NO_DATA, ()),
        ("hq.test", "A", Status.NO_DATA, ()),
        ("test", "A", Status.NO_DATA, ()),
        ("nobody.test", "A", Status.NO_NAME, ()),
        ("example.org", "A", Status.FAILED, ()),
        ("nottest", "A", Status.FAILED, ()),
        ("pbx.hq.test", "ANY", Status.FAILED, ()),
        ("toomany.test", "A", Status.TRUNCATED, ()),
    ],
)
def test_a_zone_is_answered_from(name: str, kind: str, status: Status, data: tuple[str, ...]) -> None:
    world = World()
    lookup = world.look_up(name, kind)
    assert (lookup.status, lookup.data) == (status, data)
    assert (lookup.attempts, lookup.took, lookup.server) == (1, 0.02, FIRST)
    assert world.resolver.poll_event() == LookupEnded(lookup)
    assert world.resolver.poll_event() is None
    assert world.resolver.poll_timeout() == NEVER


def test_answers_have_a_time_to_live_also_when_there_is_nothing() -> None:
    server = DnsServer([zone()])
    assert World().look_up("pbx.hq.test").records[0].ttl == 120
    nothing = dns.message.from_wire(ask(server, query(1, Question("nobody.test", "A"))))
    assert nothing.authority[0].ttl == 30
    assert nothing.authority[0].to_text().startswith("test. 30 IN SOA ns.test. hostmaster.test. ")
    assert nothing.flags & dns.flags.AA
    there = dns.message.from_wire(ask(server, query(1, Question("pbx.hq.test", "A"))))
    assert not there.authority
    refused = dns.message.from_wire(ask(server, query(1, Question("example.org", "A"))))
    assert not refused.authority
    assert not refused.flags & dns.flags.AA


def test_records_come_in_the_zones_order_every_time() -> None:
    server = DnsServer([zone()])
    answers = {ask(server, query(7, Question("many.test", "A"))) for _ in range(20)}
    assert len(answers) == 1


def test_what_does_not_fit_is_truncated() -> None:
    server = DnsServer([zone()])
    plain = reply_untrusted(ask(server, query(1, Question("many.test", "A"), edns_size=None)))
    assert (plain.truncated, plain.records) == (True, ())
    for size, truncated in ((100, True), (600, True), (1000, False), (65535, False)):
        answer = ask(server, query(1, Question("many.test", "A"), edns_size=size))
        assert reply_untrusted(answer).truncated is truncated
        assert len(answer) <= max(PLAIN_SIZE, size)
    answer = ask(server, query(1, Question("toomany.test", "A"), edns_size=65535))
    assert len(answer) <= EDNS_SIZE
    assert reply_untrusted(answer).truncated


def test_the_deepest_zone_answers() -> None:
    everything, test = Zone(), Zone("hq.test")
    everything.add("pbx.hq.test", "A", "192.0.2.1")
    everything.add("example.org", "A", "192.0.2.2")
    test.add("pbx.hq.test", "A", "192.0.2.3")
    world = World()
    world.server = DnsServer([everything, Zone("test"), test])
    assert world.look_up("pbx.hq.test").data == ("192.0.2.3",)
    assert world.look_up("example.org").data == ("192.0.2.2",)
    assert world.look_up("pbx.test").status is Status.NO_NAME
    assert world.look_up(".").status is Status.NO_DATA


def test_cname_chains_end() -> None:
    made = Zone("test")
    made.add("loop.test", "CNAME", "pool.test")
    made.add("pool.test", "CNAME", "loop.test")
    made.add("out.test", "CNAME", "example.org")
    made.add("gone.test", "CNAME", "nobody.test")
    for n in range(MAX_CHAIN):
        made.add(f"n{n}.test", "CNAME", f"n{n + 1}.test")
    made.add(f"n{MAX_CHAIN}.test", "A", "192.0.2.1")
    world = World()
    world.server = DnsServer([made])
    assert world.look_up("loop.test").code is Code.SERVFAIL
    assert world.look_up("n0.test").data == ("192.0.2.1",)
    out = world.look_up("out.test")
    assert (out.status, out.code, len(out.records)) == (Status.NO_DATA, Code.NOERROR, 1)
    assert world.look_up("gone.test").status is Status.NO_NAME


def test_a_host_gets_its_reverse_name_where_the_zone_holds_it() -> None:
    everything = Zone()
    everything.add_host("pbx.test", "10.0.50.60")
    everything.add_host("pbx.test", "fd00::60")
    world = World()
    world.server = DnsServer([everything])
    assert world.look_up("60.50.0.10.in-addr.arpa", "PTR").data == ("pbx.test",)
    nibbles = ip_address("fd00::60").reverse_pointer
    assert world.look_up(nibbles, "PTR").data == ("pbx.test",)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (("pbx.test", "A", "10.0.50"), "A '10.0.50'"),
        (("pbx.test", "A", "fd00::1"), "A 'fd00::1'"),
        (("pbx.test", "SRV", "10 5 pbx"), "SRV"),
        (("pbx.test", "MX", "10 mail.test"), "cannot serve MX"),
        (("pbx.test", "A", "10.0.0.1", -1), "for -1 s"),
        (("x" * 64 + ".test", "A", "10.0.0.1"), "is no domain name"),
        (("pbx..test", "A", "10.0.0.1"), "is no domain name"),
        (("pbx.example", "A", "10.0.0.1"), "is not below 'test'"),
        (("sip.test", "A", "10.0.0.1"), "CNAME beside other records"),
        (("pbx.hq.test", "CNAME", "other.test"), "CNAME beside other records"),
        (("sip.test", "CNAME", "other.test"), "CNAME beside other records"),
    ],
)
def test_a_zone_refuses_what_cannot_be(record: tuple[str, ...], message: str) -> None:
    made = zone()
    with pytest.raises(ValueError, match=message):
        made.add(*record)  # type: ignore[arg-type]
    made.add("sip.test", "CNAME", "pbx.hq.test")  # the same again is fine


# Strangers


def test_every_query_is_logged_with_its_true_source() -> None:
    server = DnsServer([zone()])
    data = query(1, Question("pbx.hq.test", "A"))
    for n in range(LOGGED + 5):
        ask(server, data, (ALICE[0], n))
    assert len(server.log) == LOGGED
    last = server.log[-1]
    assert (last.at, last.source, last.name) == (1.0, (ALICE[0], LOGGED + 4), "pbx.hq.test")
    assert (last.type, last.code, last.truncated) == ("A", Code.NOERROR, False)
    assert server.answered == {Code.NOERROR: LOGGED + 5}
    assert server.poll_event() is not None
    ask(server, query(1, Question("toomany.test", "A")))
    assert server.log[-1].truncated


def test_an_answer_is_never_answered() -> None:
    server = DnsServer([zone()])
    answer = ask(server, query(1, Question("pbx.hq.test", "A")))
    assert ask(server, answer) == b""
    assert ask(server, answer[:12]) == b""
    assert ask(server, b"\0" * 11) == b""
    assert sum(server.dropped.values()) == 3


def test_what_cannot_be_read_is_told_so_from_its_header_alone() -> None:
    server = DnsServer([zone()])
    broken = query(0x1234, Question("pbx.hq.test", "A"))[:-1]
    assert ask(server, broken) == bytes.fromhex("1234 8101 0000 0000 0000 0000")
    update = dns.message.make_query("test", "SOA", id=0x1234)
    update.set_opcode(dns.opcode.UPDATE)
    assert ask(server, update.to_wire()) == bytes.fromhex("1234 a904 0000 0000 0000 0000")
    assert refusal(b"") == b""


def test_other_classes_and_versions_are_answered_with_their_code() -> None:
    server = DnsServer([zone()])
    chaos = dns.message.make_query("version.bind", "TXT", "CH")
    assert dns.message.from_wire(ask(server, chaos.to_wire())).rcode() == dns.rcode.REFUSED
    future = dns.message.make_query("pbx.hq.test", "A", use_edns=1)
    assert dns.message.from_wire(ask(server, future.to_wire())).rcode() == dns.rcode.BADVERS
    assert server.answered == {Code.REFUSED: 1, Code.BADVERS: 1}


def wire(
    *, questions: int = 1, answers: int = 0, authority: int = 0, additional: int = 0, flags: int = 0
) -> bytes:
    """A message of as many equal questions and records."""
    head = b"".join(n.to_bytes(2) for n in (7, flags, questions, answers, authority, additional))
    if not questions:
        return head
    record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x0a\0\0\1"
    return (
        head
        + b"\1a\0\0\1\0\1"
        + b"\xc0\x0c\0\1\0\1" * (questions - 1)
        + record * (answers + authority + additional)
    )


@pytest.mark.parametrize(
    "data",
    [
        wire(questions=0),
        wire(questions=2),
        wire(answers=1),
        wire(authority=1),
        wire(additional=2),
        wire() + b"\0",
        wire() + bytes(EDNS_SIZE),
        wire(flags=0x8000),
        wire(flags=0x2800),
    ],
)
def test_only_one_plain_question_is_a_query(data: bytes) -> None:
    assert query_untrusted(wire()).question == Question("a", "A")
    with pytest.raises(BadPacket):
        query_untrusted(data)


@pytest.mark.parametrize(
    "data",
    [
        wire(),
        wire(questions=0, flags=0x8000),
        wire(questions=2, flags=0x8000),
        wire(flags=0xA800),
        wire(answers=1, flags=0x8000)[:-1],
        wire(flags=0x8000) + bytes(EDNS_SIZE),
        wire(questions=1, flags=0x8000)[:6] + (MAX_RECORDS + 1).to_bytes(2) + wire()[8:],
    ],
)
def test_only_an_answer_to_one_question_is_a_reply(data: bytes) -> None:
    assert reply_untrusted(wire(answers=1, flags=0x8000)).records == (("a", "A", 1, "10.0.0.1"),)
    with pytest.raises(BadPacket):
        reply_untrusted(data)


def test_records_that_nobody_here_understands_are_left_out() -> None:
    message = dns.message.make_response(dns.message.make_query("a.test", "A", id=1))
    for text in ("a.test. 1 IN TXT hello", "a.test. 1 CH TXT hello", "a.test. 1 IN A 10.0.0.1"):
        name, ttl, of, kind, *data = text.split()
        message.answer.append(dns.rrset.from_text(name, int(ttl), of, kind, " ".join(data)))
    message.set_rcode(dns.rcode.YXDOMAIN)
    reply = reply_untrusted(message.to_wire())
    assert [record.data for record in reply.records] == ["10.0.0.1"]
    assert reply.code is Code.OTHER


SEEDS = [
    query(1, Question(name, kind), edns_size=size)
    for name in ("pbx.hq.test", "sip.test", "toomany.test", "nobody.test", ".")
    for kind in ("A", "SRV", "ANY", "OPT", "TSIG", "AXFR", "TYPE65400")
    for size in (None, EDNS_SIZE)
]
ZONE = zone()
ANSWERS = [ask(DnsServer([ZONE]), seed) for seed in SEEDS]


@settings(deadline=None)
@given(st.sampled_from(SEEDS + ANSWERS), st.data())
def test_no_datagram_ends_a_server_or_a_resolver(seed: bytes, data: st.DataObject) -> None:
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(
            st.sampled_from([0, 1, 12, 0xC0, 0xFF, 41])
        )
    cut = (
        bytes(mutated[: data.draw(st.integers(0, len(mutated)))])
        if data.draw(st.booleans())
        else bytes(mutated)
    )
    cut += data.draw(st.binary(max_size=20))
    server = DnsServer([ZONE])
    answer = ask(server, cut)
    assert len(answer) <= EDNS_SIZE
    assert sum(server.answered.values()) + sum(server.dropped.values()) == 1
    resolver = DnsResolver([FIRST], Random(1))
    lookup = resolver.look_up("pbx.hq.test", 0.0)
    for what in (cut, lookup.ident.to_bytes(2) + cut[2:]):
        if resolver.wants(lookup.port):
            resolver.handle_datagram(lookup.port, FIRST, what, 0.0)
    assert sum(resolver.dropped.values()) + (lookup.status is not Status.WAITING) in (1, 2)


# The resolver


def test_an_attempt_without_answer_is_repeated_elsewhere_with_more_patience() -> None:
    resolver = DnsResolver([FIRST, SECOND], Random(1), timeout=1.0, attempts=3)
    lookup = resolver.look_up("pbx.hq.test", 0.0)
    asked = resolver.poll_transmit()
    for at in (1.0, 3.0):
        assert resolver.poll_timeout() == at
        resolver.handle_timeout(at - 0.01)
        assert resolver.poll_transmit() == []
        resolver.handle_timeout(at)
        asked += resolver.poll_transmit()
    assert [server for _, server, _ in asked] == [FIRST, SECOND, FIRST]
    assert len({port for port, _, _ in asked}) == 3
    assert len({data[:2] for _, _, data in asked}) == 3
    assert [resolver.wants(port) for port, _, _ in asked] == [False, False, True]
    resolver.handle_timeout(7.0)
    assert (lookup.status, lookup.attempts, lookup.took) == (Status.TIMEOUT, 3, 7.0)
    assert resolver.poll_event() == LookupEnded(lookup)
    assert resolver.poll_timeout() == NEVER
    assert not resolver.wants(lookup.port)


def test_only_the_true_answer_is_believed() -> None:
    world = World()
    lookup = world.resolver.look_up("pbx.hq.test", 0.0)
    ((port, server, data),) = world.resolver.poll_transmit()
    true = ask(world.server, data)
    other = ask(world.server, query(lookup.ident, Question("pbx.hq.test", "AAAA")))
    for source, answer in (
        (SECOND, true),
        ((FIRST[0], 5353), true),
        (server, (lookup.ident ^ 1).to_bytes(2) + true[2:]),
        (server, other),
        (server, true[:-1]),
        (server, data),
        (server, b""),
    ):
        world.resolver.handle_datagram(port, source, answer, 0.1)
        assert lookup.status is Status.WAITING
    assert world.resolver.dropped == {
        "wrong_source": 2,
        "wrong_id": 2,
        "wrong_question": 1,
        "malformed": 1,
        "bad_header": 1,
    }
    world.resolver.handle_datagram(port, server, true, 0.2)
    assert (lookup.status, lookup.took) == (Status.ANSWERED, 0.2)
    assert not world.resolver.wants(port)


def test_records_of_other_names_are_nobodys_answer() -> None:
    world = World()
    lookup = world.resolver.look_up("pbx.hq.test", 0.0)
    ((port, server, data),) = world.resolver.poll_transmit()
    message = dns.message.make_response(dns.message.from_wire(data))
    message.answer.append(dns.rrset.from_text("bank.test.", 60, "IN", "A", "192.0.2.66"))
    world.resolver.handle_datagram(port, server, message.to_wire(), 0.1)
    assert (lookup.status, lookup.data, len(lookup.records)) == (Status.NO_DATA, (), 1)


def test_a_loop_of_aliases_in_an_answer_ends() -> None:
    world = World()
    lookup = world.resolver.look_up("a.test", 0.0)
    ((port, server, data),) = world.resolver.poll_transmit()
    message = dns.message.make_response(dns.message.from_wire(data))
    message.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "CNAME", "b.test."))
    message.answer.append(dns.rrset.from_text("b.test.", 60, "IN", "CNAME", "a.test."))
    world.resolver.handle_datagram(port, server, message.to_wire(), 0.1)
    assert (lookup.status, lookup.data) == (Status.NO_DATA, ())


def test_the_same_seed_asks_the_same() -> None:
    def asked(seed: int) -> list[tuple[int, tuple[str, int], bytes]]:
        resolver = DnsResolver([FIRST], Random(seed))
        for n in range(5):
            resolver.look_up(f"n{n}.test", 0.0)
        return resolver.poll_transmit()

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_many_look_ups_wait_at_once_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.proto.dns_resolver.MAX_LOOKUPS", 100)
    resolver = DnsResolver([FIRST], Random(1))
    for _ in range(100):
        resolver.look_up("pbx.hq.test", 0.0)
    assert len({port for port, _, _ in resolver.poll_transmit()}) == 100
    with pytest.raises(ValueError, match="wait already"):
        resolver.look_up("pbx.hq.test", 0.0)


@pytest.mark.parametrize(
    ("name", "kind"), [("x" * 64, "A"), ("a..b", "A"), ("a.test", "NOPE"), ("a.test", "")]
)
def test_what_cannot_be_asked_is_refused(name: str, kind: str) -> None:
    with pytest.raises(ValueError):
        DnsResolver([FIRST], Random(1)).look_up(name, 0.0, kind)


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"timeout": 0}, {"servers": []}])
def test_a_resolver_needs_a_server_an_attempt_and_patience(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        DnsResolver(**{"servers": [FIRST], "rng": Random(1), **wrong})  # type: ignore[arg-type]


def test_from_host_to_host() -> None:
    ledger = Ledger()
    alice = Host("alice", ALICE[0], vnet="acme", ledger=ledger)
    names = Host("hq/dns", FIRST[0], vnet="acme", ledger=ledger)
    resolver, server = DnsResolver([FIRST], Random(1)), DnsServer([zone()])
    alice.add(resolver)
    names.add(server)
    lookup = resolver.look_up("sip.test", 0.0)
    names.handle_packets(alice.poll_packets(), 0.01)
    alice.handle_packets(names.poll_packets(), 0.02)
    assert (lookup.data, lookup.took) == (("10.0.50.60",), 0.02)
    assert server.log[0].source[0] == alice.address
    assert not any(ledger.offences.values())


def test_source_ports_are_those_of_no_other_application_of_a_host() -> None:
    source = TrafficSource(Random(1))
    stream = source.start(FIRST, Profile(1.0), 0.0)
    assert LAST_PORT < stream.local_port < UdpProbe.FIRST_PORT
