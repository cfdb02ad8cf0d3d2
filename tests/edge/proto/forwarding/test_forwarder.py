"""The forwarder against the laws: isolation, true sources, exact accounting, and what happens to what may not pass."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network

import pytest

from edge.proto.forwarding import Action, Attachment, Flow, Forwarder, Party, Policy, VirtualNetwork
from edge.proto.forwarding.attachment import CACHE_LIMIT
from edge.proto.ip import (
    build_icmp_echo,
    build_tcp,
    build_udp,
    checksum,
    fragment_ipv4,
    parse_untrusted,
    time_exceeded,
    too_big,
    udp_payload,
)
from edge.proto.types import DropReason


def ip(text: str) -> bytes:
    return ip_address(text).packed


class Lab:
    """One vnet with tunnels given as name -> prefixes; `decide` is the policy."""

    def __init__(
        self, tunnels: dict[str, list[str]] | None = None, *, mtu: int = 1420, name: str = "acme"
    ) -> None:
        self.actions: dict[str, Action] = {}
        self.default = Action.ALLOW
        self.seen: list[Flow] = []
        self.policy = Policy(hooks=[self._hook], hook_budget=60, timer=lambda: 0.0)
        self.vnet = VirtualNetwork(name, self.policy, gateway4=ip("10.255.0.1"), gateway6=ip("fd00:ffff::1"))
        self.forwarder = Forwarder()
        self.now = 100.0
        for tunnel, prefixes in (
            tunnels or {"a": ["10.0.1.0/24", "fd00:1::/64"], "b": ["10.0.2.0/24", "fd00:2::/64"]}
        ).items():
            self.attach(tunnel, prefixes, mtu)

    def _hook(self, flow: Flow):
        from edge.proto.forwarding import Verdict

        self.seen.append(flow)
        return Verdict(self.actions.get(flow.ingress.name, self.default), "")

    def attach(self, name: str, prefixes: list[str], mtu: int = 1420) -> Attachment:
        nets = tuple((ip_network(p).network_address.packed, ip_network(p).prefixlen) for p in prefixes)
        attachment = Attachment(Party(name, "connector"), self.vnet, nets, mtu)
        self.vnet.attach(attachment)
        return attachment

    def send(self, name: str, *packets: bytearray) -> dict[str, list[bytearray]]:
        """What comes out where."""
        self.forwarder.forward([(self.vnet.attachments[name], list(packets))], self.now)
        return {a.name: out for a, out in self.forwarder.take()}

    @property
    def drops(self) -> dict[DropReason, int]:
        return dict(self.vnet.drops)

    def check_accounting(self) -> None:
        v = self.vnet
        assert v.packets_in + v.packets_generated == v.packets_out + v.drops.total() + v.packets_held


A, B = "10.0.1.5", "10.0.2.6"
A6, B6 = "fd00:1::5", "fd00:2::6"


def udp(
    source: str = A,
    destination: str = B,
    sport: int = 4000,
    dport: int = 5060,
    payload: bytes = b"hello",
    **kw,
) -> bytearray:
    return build_udp(ip(source), ip(destination), sport, dport, payload, **kw)


@pytest.mark.parametrize(("source", "destination"), [(A, B), (A6, B6)])
def test_a_packet_passes_unchanged_but_for_one_hop(source: str, destination: str) -> None:
    lab = Lab()
    for _ in range(3):  # the slow path once, then the fast one
        out = lab.send("a", udp(source, destination, ttl=64))["b"]
        header = parse_untrusted(out[0])
        assert header.ttl == 63
        assert (header.source, header.destination) == (ip(source), ip(destination))
        assert bytes(udp_payload(out[0], header)) == b"hello"
        again = udp(source, destination, ttl=63)
        assert bytes(out[0]) == bytes(again)
    lab.check_accounting()
    assert len(lab.seen) == 1


def test_padding_of_the_tunnel_is_cut_on_both_paths() -> None:
    lab = Lab()
    for packet in (udp(), udp(), udp(A6, B6), udp(A6, B6)):
        size = len(packet)
        assert len(lab.send("a", packet + bytes(11))["b"][0]) == size
    assert lab.vnet.bytes_in == lab.vnet.bytes_out


def test_every_checksum_survives_the_ttl_update() -> None:
    """RFC 1624: all 65,536 values of the identification reach every checksum."""
    lab = Lab()
    first = int.from_bytes(udp(ident=0)[10:12], "big")
    edges = [(first - wanted) % 0xFFFF for wanted in (0xFDFF, 0xFE00, 0xFEFF, 0xFF00, 0xFFFE, 0)]
    idents = [*edges, *range(0, 65536, 7)]
    lab.send("a", udp())
    out = lab.send("a", *[udp(ident=n) for n in idents])["b"]
    assert [bytes(packet) for packet in out] == [bytes(udp(ident=n, ttl=63)) for n in idents]


def test_answers_need_no_rule_of_their_own_but_belong_to_the_flow() -> None:
    lab = Lab()
    lab.actions = {"a": Action.ALLOW, "b": Action.BLOCK}
    assert lab.send("b", udp(B, A, 5060, 4000)) == {}
    lab.send("a", udp())
    assert "a" in lab.send("b", udp(B, A, 5060, 4000))
    assert lab.send("b", udp(B, A, 5060, 4001)) == {}
    assert lab.drops == {DropReason.POLICY_BLOCKED: 2}


def test_spoofed_sources_die_even_if_the_flow_is_known() -> None:
    """P1: also other tunnels' and the PoP's own addresses, v4 and v6; a good packet sent next still passes."""
    lab = Lab()
    lab.send("b", udp(B, A))
    rng = random.Random(1)
    forged = [udp(str(ip_address(rng.getrandbits(32))), B) for _ in range(200)]
    forged = [p for p in forged if p[12:15] != ip(A)[:3]]
    forged += [udp(B, A), udp("10.255.0.1", B), udp(B6, A6), udp("fd00:ffff::1", B6)]
    assert lab.send("a", *forged) == {}
    assert set(lab.drops) <= {DropReason.SPOOFED_SOURCE, DropReason.BOGON}
    assert sum(lab.drops.values()) == len(forged)
    assert "b" in lab.send("a", udp())
    lab.check_accounting()


def test_the_longest_prefix_owns_the_source() -> None:
    lab = Lab({"site": ["10.0.0.0/16"], "phone": ["10.0.9.9/32"], "b": ["192.168.0.0/24"]})
    assert lab.send("site", udp("10.0.9.9", "192.168.0.1")) == {}
    assert lab.drops == {DropReason.SPOOFED_SOURCE: 1}
    assert "b" in lab.send("phone", udp("10.0.9.9", "192.168.0.1"))
    assert "phone" in lab.send("b", udp("192.168.0.1", "10.0.9.9", 5060, 4000))


def test_no_packet_is_accepted_under_an_old_owner_of_a_prefix() -> None:
    """P2: the cache must not remember."""
    lab = Lab()
    lab.send("a", udp())
    assert "b" in lab.send("a", udp())
    lab.vnet.detach(lab.vnet.attachments["a"])
    old = Attachment(Party("a"), lab.vnet, (), 1420)
    lab.attach("c", ["10.0.1.0/24"])
    lab.vnet.attach(old)
    assert lab.send("a", udp()) == {}
    assert lab.drops == {DropReason.SPOOFED_SOURCE: 1}
    assert "b" in lab.send("c", udp())


@pytest.mark.parametrize("family", [4, 6])
def test_a_longer_prefix_takes_a_live_conversation_over(family: int) -> None:
    """P2: attached under a flow, without a detach. Neither end may go on under the old owner."""
    source, destination, host = (A, B, A + "/32") if family == 4 else (A6, B6, A6 + "/128")
    lab = Lab()
    for _ in range(2):
        assert "b" in lab.send("a", udp(source, destination))
        assert "a" in lab.send("b", udp(destination, source, 5060, 4000))
    lab.attach("phone", [host])
    assert lab.send("a", udp(source, destination)) == {}
    assert lab.drops == {DropReason.SPOOFED_SOURCE: 1}
    for _ in range(2):
        assert set(lab.send("b", udp(destination, source, 5060, 4000))) == {"phone"}
        assert set(lab.send("phone", udp(source, destination))) == {"b"}
    assert len(lab.seen) == 2
    lab.check_accounting()


@pytest.mark.parametrize("known", [True, False])
def test_ip_options_are_not_taken_for_ports_of_a_known_flow(known: bool) -> None:
    """P10: where a plain packet has its ports, one with options has those, and the checksum covers them."""
    lab = Lab()
    if known:
        lab.send("a", udp(), udp())
    plain = udp()
    smuggled = bytearray(b"\x46" + plain[1:20] + plain[20:24] + build_udp(ip(A), ip(B), 1, 22, b"")[20:])
    smuggled[2:4] = len(smuggled).to_bytes(2, "big")
    smuggled[10:12] = b"\0\0"
    smuggled[10:12] = checksum(smuggled[:20]).to_bytes(2, "big")  # right for the first 20 bytes only
    assert lab.send("a", smuggled) == {}
    assert lab.drops == {DropReason.BAD_CHECKSUM: 1}


def test_a_packet_with_options_does_not_vouch_for_one_whose_ports_look_like_them() -> None:
    """P10: four no-operations, and a packet from port 257 to port 257."""
    lab = Lab()
    packet = udp()
    with_options = bytearray(b"\x46" + packet[1:20] + b"\1\1\1\1" + packet[20:])
    with_options[2:4] = len(with_options).to_bytes(2, "big")
    with_options[10:12] = b"\0\0"
    with_options[10:12] = checksum(with_options[:24]).to_bytes(2, "big")
    assert "b" in lab.send("a", with_options)
    lab.default = Action.BLOCK
    assert lab.send("a", udp(sport=257, dport=257)) == {}
    assert [flow.destination_port for flow in lab.seen] == [5060, 257]


def test_extension_headers_are_not_taken_for_the_ports_of_a_known_flow() -> None:
    """P11: two packets alike in their first 44 bytes, to other ports."""
    lab = Lab()

    def behind_options(dport: int) -> bytearray:
        packet = udp(A6, B6, dport=dport)
        packet[40:40] = b"\x11\0\1\4\0\0\0\0"  # destination options: UDP follows, PadN
        packet[4:6] = (len(packet) - 40).to_bytes(2, "big")
        packet[6] = 60
        return packet

    for _ in range(2):
        assert "b" in lab.send("a", behind_options(5060))
    lab.default = Action.BLOCK
    assert lab.send("a", behind_options(22)) == {}
    assert [flow.destination_port for flow in lab.seen] == [5060, 22]


def test_later_fragments_do_not_outlive_the_decision_on_the_first() -> None:
    """P7: the policy changes between the two halves of a datagram."""
    lab = Lab()
    first, second = fragment_ipv4(udp(payload=bytes(1000), dont_fragment=False), 600)
    assert "b" in lab.send("a", first)
    lab.default = Action.BLOCK
    lab.vnet.changed()
    assert lab.send("a", second) == {}
    assert lab.drops == {DropReason.FRAGMENT_ORPHAN: 1}
    lab.check_accounting()


def test_a_moved_destination_is_found_again() -> None:
    lab = Lab()
    lab.send("a", udp())
    lab.vnet.detach(lab.vnet.attachments["b"])
    assert list(lab.send("a", udp())) == ["a"]  # unreachable
    lab.attach("c", ["10.0.2.0/24"])
    assert list(lab.send("a", udp())) == ["c"]


def test_equal_addresses_in_two_networks_never_meet() -> None:
    """P3, P4: one forwarder, equal prefixes, equal 5-tuples, equal fragment ids."""
    forwarder = Forwarder()
    labs = [Lab(name=f"tenant{n}") for n in range(3)]
    rng = random.Random(3)
    for lab in labs:
        lab.forwarder = forwarder
    sent = received = 0
    for _ in range(2000):
        lab = rng.choice(labs)
        name = lab.vnet.name.encode()
        source, destination = rng.choice([(A, B), (B, A), (A6, B6)])
        packet = udp(source, destination, sport=rng.choice([1, 2]), payload=name, ident=7)
        lab.forwarder.forward([(lab.vnet.attachments["a" if source in (A, A6) else "b"], [packet])], 0.0)
        sent += 1
    for attachment, packets in forwarder.take():
        for packet in packets:
            assert bytes(udp_payload(packet, parse_untrusted(packet))) == attachment.vnet.name.encode()
            received += 1
    assert sent == received


def test_fragments_of_two_networks_do_not_merge() -> None:
    one, two = Lab(name="one"), Lab(name="two")
    first, later = fragment_ipv4(udp(payload=b"1" * 1200, ident=9, dont_fragment=False), 700)
    assert "b" in one.send("a", first)
    assert two.send("a", later) == {}
    assert two.vnet.packets_held == 1
    two.check_accounting()
    two.now += 60
    two.vnet.expire(two.now)
    assert two.drops == {DropReason.FRAGMENT_ORPHAN: 1}
    two.check_accounting()


def test_icmp_errors_do_not_cross_networks() -> None:
    one, two = Lab(name="one"), Lab(name="two")
    packet = udp()
    one.send("a", bytearray(packet))
    error = time_exceeded(packet, parse_untrusted(packet), ip("10.0.2.1"))
    assert error is not None
    assert two.send("b", bytearray(error)) == {}
    assert two.drops == {DropReason.ICMP_UNSOLICITED: 1}
    assert "a" in one.send("b", bytearray(error))


def test_icmp_errors_pass_only_about_live_flows_towards_their_sender() -> None:
    """P15."""
    lab = Lab({"a": ["10.0.1.0/24"], "b": ["10.0.2.0/24"], "c": ["10.0.3.0/24"]})
    packet = udp()
    lab.send("a", bytearray(packet))
    header = parse_untrusted(packet)
    unrelated = udp(dport=9999)
    for name, error in (
        ("c", time_exceeded(packet, header, ip("10.0.3.1"))),  # the flow does not go to c
        ("b", time_exceeded(unrelated, parse_untrusted(unrelated), ip("10.0.2.1"))),  # no such flow
        ("b", too_big(packet, header, ip("10.0.2.1"), 68)),  # below every IPv4 minimum
    ):
        assert error is not None
        assert lab.send(name, error) == {}
    assert lab.drops == {DropReason.ICMP_UNSOLICITED: 3}
    good = too_big(packet, header, ip("10.0.2.1"), 1280)
    assert good is not None
    assert "a" in lab.send("b", good)
    lab.check_accounting()


def test_blocked_flows_die_in_silence_and_rejected_ones_are_told() -> None:
    lab = Lab()
    lab.default = Action.BLOCK
    assert lab.send("a", udp()) == {}
    lab.default = Action.REJECT
    lab.vnet.changed()
    (told,) = lab.send("a", udp())["a"]
    header = parse_untrusted(told)
    assert (header.protocol, header.icmp_type, header.icmp_code) == (1, 3, 13)
    assert header.source == ip("10.255.0.1")
    syn = build_tcp(ip(A), ip(B), 1234, 80, sequence=1, flags=0x02)
    (reset,) = lab.send("a", syn)["a"]
    header = parse_untrusted(reset)
    assert header.tcp_flags & 0x04
    assert (header.source, header.destination) == (ip(B), ip(A))
    assert lab.drops == {DropReason.POLICY_BLOCKED: 1, DropReason.POLICY_REJECTED: 2}
    lab.check_accounting()


def test_a_policy_change_reaches_live_flows_in_both_directions() -> None:
    lab = Lab()
    lab.send("a", udp())
    assert "a" in lab.send("b", udp(B, A, 5060, 4000))
    lab.actions = {"a": Action.BLOCK}
    lab.vnet.set_policy(lab.policy)
    assert lab.send("b", udp(B, A, 5060, 4000)) == {}
    assert lab.send("a", udp()) == {}
    lab.actions = {}
    lab.vnet.set_policy(lab.policy)
    assert "b" in lab.send("a", udp())
    assert "a" in lab.send("b", udp(B, A, 5060, 4000))


def test_ttl_is_spent_once_and_never_forwarded_at_zero() -> None:
    """P17."""
    lab = Lab()
    assert parse_untrusted(lab.send("a", udp(ttl=2))["b"][0]).ttl == 1
    for ttl in (0, 1):
        out = lab.send("a", udp(ttl=ttl))
        header = parse_untrusted(out["a"][0])
        assert (header.icmp_type, header.icmp_code) == (11, 0)
    assert lab.drops == {DropReason.TTL_EXCEEDED: 2}
    out = lab.send("a", udp(A6, B6, ttl=1))
    assert parse_untrusted(out["a"][0]).icmp_type == 3
    lab.check_accounting()


def test_no_route_is_told_and_hairpins_die() -> None:
    lab = Lab()
    out = lab.send("a", udp(A, "10.0.77.1"))
    assert parse_untrusted(out["a"][0]).icmp_type == 3
    assert lab.send("a", udp(A, "10.0.1.77")) == {}
    assert lab.drops == {DropReason.NO_ROUTE: 1, DropReason.HAIRPIN: 1}
    lab.check_accounting()


def test_a_packet_above_the_mtu_is_fragmented_or_told() -> None:
    """P21."""
    lab = Lab(mtu=1280)
    pieces = lab.send("a", udp(payload=b"x" * 2000, dont_fragment=False))["b"]
    assert len(pieces) == 2
    assert all(len(p) <= 1280 for p in pieces)
    for packet in (udp(payload=b"x" * 2000), udp(A6, B6, payload=b"x" * 2000)):
        (told,) = lab.send("a", packet)["a"]
        header = parse_untrusted(told)
        at = header.header_length + 4
        assert int.from_bytes(told[at : at + 4], "big") & 0xFFFF == 1280
    assert lab.drops == {DropReason.TOO_BIG: 2}
    lab.check_accounting()


def test_a_known_flow_does_not_smuggle_an_oversized_packet() -> None:
    lab = Lab(mtu=1280)
    lab.send("a", udp())
    lab.send("a", udp())
    assert list(lab.send("a", udp(payload=b"x" * 1400))) == ["a"]
    assert lab.drops == {DropReason.TOO_BIG: 1}


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_later_fragments_share_the_verdict_of_the_first(order: tuple[int, ...]) -> None:
    """P7: a denied port is denied in all its pieces, an allowed one passes whole in any order."""
    for action, passed in ((Action.ALLOW, 3), (Action.BLOCK, 0)):
        lab = Lab()
        lab.default = action
        pieces = fragment_ipv4(udp(payload=b"INVITE" * 400, dont_fragment=False), 1000)
        assert len(pieces) == 3
        out = [p for n in order for p in lab.send("a", pieces[n]).get("b", [])]
        assert len(out) == passed
        assert lab.vnet.packets_held == 0
        lab.check_accounting()


def test_overlapping_fragments_kill_the_datagram() -> None:
    """P6: nothing of it leaves after the overlap, and the books still balance."""
    lab = Lab()
    first, later = fragment_ipv4(udp(payload=b"x" * 1200, dont_fragment=False), 700)
    evil = bytearray(later)
    evil[6:8] = (int.from_bytes(evil[6:8], "big") - 1).to_bytes(2, "big")
    evil[10:12] = b"\0\0"
    evil[10:12] = checksum(evil[:20]).to_bytes(2, "big")
    assert lab.send("a", evil) == {}
    lab.send("a", first)
    assert lab.send("a", later) == {}
    assert lab.drops[DropReason.FRAGMENT_OVERLAP] >= 1
    lab.check_accounting()


def test_the_pop_answers_pings_on_its_own_address_and_nothing_else() -> None:
    lab = Lab()
    ping = build_icmp_echo(ip(A), ip("10.255.0.1"), ident=1, sequence=2, payload=b"x" * 8)
    (answer,) = lab.send("a", ping)["a"]
    assert parse_untrusted(answer).icmp_type == 0
    assert lab.send("a", udp(A, "10.255.0.1")) == {}
    assert lab.drops == {DropReason.LOCAL: 2}
    lab.check_accounting()


def test_pings_pass_and_their_answers_come_back() -> None:
    lab = Lab()
    lab.actions = {"b": Action.BLOCK}
    assert "b" in lab.send("a", build_icmp_echo(ip(A), ip(B), ident=5, sequence=1, payload=b""))
    assert "a" in lab.send("b", build_icmp_echo(ip(B), ip(A), ident=5, sequence=1, payload=b"", reply=True))
    assert lab.send("b", build_icmp_echo(ip(B), ip(A), ident=6, sequence=1, payload=b"", reply=True)) == {}


def test_link_control_messages_and_multicast_die() -> None:
    """P14, P16."""
    lab = Lab()
    redirect = build_icmp_echo(ip(A), ip(B), ident=1, sequence=1, payload=b"")
    redirect[20] = 5
    redirect[22:24] = b"\0\0"
    redirect[22:24] = checksum(redirect[20:]).to_bytes(2, "big")
    lab.send("a", redirect, udp(A, "224.0.0.1"), udp(A, "127.0.0.1"), udp(A, "255.255.255.255"))
    assert lab.drops[DropReason.ICMP_FORBIDDEN] == 1
    assert lab.drops[DropReason.MULTICAST] >= 1
    assert lab.drops[DropReason.BOGON] >= 1
    assert sum(lab.drops.values()) == 4


def test_icmp_errors_are_rate_limited_per_tunnel() -> None:
    """P19: bytes out stay far below bytes in."""
    lab = Lab()
    out = lab.send("a", *[udp(A, "10.0.77.1", sport=n) for n in range(1, 2000)])
    assert sum(map(len, out["a"])) < lab.vnet.bytes_in / 10
    assert lab.drops == {DropReason.NO_ROUTE: 1999}
    lab.check_accounting()


def test_a_tunnel_at_its_flow_cap_pays_with_its_own_oldest_flow() -> None:
    lab = Lab()
    lab.vnet.flows.per_tunnel = 10
    lab.send("b", udp(B, A, 1, 1))
    for port in range(1, 100):
        assert "b" in lab.send("a", udp(sport=port))
    assert len(lab.vnet.flows) == 11
    assert "a" in lab.send("b", udp(B, A, 1, 1))


def test_idle_flows_expire_and_busy_ones_stay() -> None:
    lab = Lab()
    lab.send("a", udp(sport=1))
    lab.send("a", udp(sport=2))
    for second in range(0, 400, 10):
        lab.now = 100.0 + second
        lab.send("a", udp(sport=1))
        lab.vnet.expire(lab.now)
    assert len(lab.vnet.flows) == 1


def test_random_and_mutated_packets_never_raise_and_always_balance() -> None:
    """Law 3 and law 4."""
    lab = Lab()
    rng = random.Random(11)
    seeds = [
        udp(),
        udp(A6, B6),
        build_icmp_echo(ip(A), ip(B), ident=1, sequence=1, payload=b"x"),
        build_tcp(ip(A), ip(B), 1, 2, sequence=1, flags=2),
        *fragment_ipv4(udp(payload=b"x" * 1200, dont_fragment=False), 700),
    ]
    for n in range(4000):
        packet = (
            bytearray(rng.choice(seeds))
            if rng.random() < 0.9
            else bytearray(rng.randbytes(rng.randrange(80)))
        )
        for _ in range(rng.randrange(3)):
            if packet:
                packet[rng.randrange(len(packet))] = rng.randrange(256)
        if rng.random() < 0.1:
            del packet[rng.randrange(len(packet) + 1) :]
        elif packet and packet[0] == 0x45 and len(packet) >= 20 and rng.random() < 0.5:
            packet[10:12] = b"\0\0"
            packet[10:12] = checksum(packet[:20]).to_bytes(2, "big")
        if packet:
            lab.send(rng.choice("ab"), packet)
        if n % 500 == 0:
            lab.check_accounting()
    lab.now += 100
    lab.vnet.expire(lab.now)
    lab.check_accounting()
    assert lab.vnet.packets_held == 0


def test_a_flow_evicted_within_a_batch_does_no_harm() -> None:
    lab = Lab()
    lab.vnet.flows.per_tunnel = 4
    for port in range(4):
        lab.send("a", udp(sport=1000 + port))
    lab.send("a", udp(sport=1000), udp(sport=2000), udp(sport=1000))
    lab.check_accounting()
    assert len(lab.vnet.flows) == 4


def test_tunnels_together_do_not_leave_another_without_flows() -> None:
    lab = Lab({name: [f"10.0.{n}.0/24"] for n, name in enumerate("abcdef", 1)})
    lab.vnet.flows.limit = 64
    for n, name in enumerate("abcde", 1):
        for port in range(1, 200):
            lab.send(name, udp(f"10.0.{n}.5", "10.0.6.6", sport=port))
    assert len(lab.vnet.flows) < 64
    assert "a" in lab.send("f", udp("10.0.6.6", "10.0.1.9", sport=7))


def test_shapes_of_dead_flows_are_forgotten() -> None:
    lab = Lab()
    for port in range(1, 500):
        lab.send("a", udp(sport=port))
    assert len(lab.vnet.attachments["a"].cache) == 499
    for _ in range(800):
        lab.now += 1
        lab.vnet.expire(lab.now)
    assert len(lab.vnet.flows) == 0
    assert not lab.vnet.attachments["a"].cache


def test_one_side_of_a_ping_does_not_open_the_other() -> None:
    """The rule lets a ping b; b may answer, not ping with the same identifier; nor does an answer open requests."""
    lab = Lab()
    lab.actions = {"b": Action.BLOCK}
    lab.send("a", build_icmp_echo(ip(A), ip(B), ident=5, sequence=1, payload=b""))
    assert "a" in lab.send("b", build_icmp_echo(ip(B), ip(A), ident=5, sequence=1, payload=b"", reply=True))
    assert lab.send("b", build_icmp_echo(ip(B), ip(A), ident=5, sequence=1, payload=b"")) == {}


def test_an_address_of_the_pool_that_nobody_has_is_not_behind_a_default_route() -> None:
    """P1, P2: no site speaks for a client that left, nor hears what is for it."""
    lab = Lab({"exit": ["0.0.0.0/0", "::/0"], "phone": ["100.96.0.7/32", "fd00:96::7/128"]})
    lab.vnet.set_pools([(ip("100.96.0.0"), 24), (ip("fd00:96::"), 64)])
    for phone, free, far in (("100.96.0.7", "100.96.0.9", "203.0.113.5"), ("fd00:96::7", "fd00:96::9", B6)):
        assert "exit" in lab.send("phone", udp(phone, far))
        assert "phone" in lab.send("exit", udp(far, phone, 5060, 4000))
        assert lab.send("exit", udp(free, phone)) == {}
        assert set(lab.send("phone", udp(phone, free))) == {"phone"}  # told that there is no route
    assert lab.drops == {DropReason.SPOOFED_SOURCE: 2, DropReason.NO_ROUTE: 2}
    lab.vnet.set_pools([(ip("100.97.0.0"), 24)])
    assert set(lab.send("phone", udp("100.96.0.7", "100.96.0.9"))) == {"exit"}
    lab.check_accounting()


def test_the_gateway_is_nobodys_source_even_behind_a_default_route() -> None:
    lab = Lab({"a": ["0.0.0.0/0"], "b": ["10.0.2.0/24"]})
    assert lab.send("a", udp("10.255.0.1", B)) == {}
    assert lab.drops == {DropReason.SPOOFED_SOURCE: 1}


def test_a_forwarded_error_respects_the_mtu() -> None:
    lab = Lab(mtu=1280)
    packet = udp(payload=b"x" * 1200)
    lab.send("a", bytearray(packet))
    error = bytearray(time_exceeded(packet, parse_untrusted(packet), ip("10.0.2.1")) or b"")
    error += bytes(1300 - len(error))
    error[2:4] = len(error).to_bytes(2, "big")
    error[10:12] = error[22:24] = b"\0\0"
    error[10:12] = checksum(error[:20]).to_bytes(2, "big")
    error[22:24] = checksum(error[20:]).to_bytes(2, "big")
    assert lab.send("b", error) == {}
    assert lab.drops == {DropReason.TOO_BIG: 1}


def test_a_known_flow_does_not_smuggle_a_cut_tcp_header() -> None:
    lab = Lab()
    segment = build_tcp(ip(A), ip(B), 1, 2, sequence=1, flags=0x10)
    lab.send("a", bytearray(segment))
    cut = segment[:30]
    cut[2:4] = (30).to_bytes(2, "big")
    cut[10:12] = b"\0\0"
    cut[10:12] = checksum(cut[:20]).to_bytes(2, "big")
    assert lab.send("a", cut) == {}
    lab.check_accounting()


@pytest.mark.parametrize("family", [4, 6])
def test_a_known_flow_does_not_vouch_for_the_next_packet(family: int) -> None:
    """P20, P21: checksum, length and size are each packet's own."""
    lab = Lab(mtu=1280)
    source, destination = (A, B) if family == 4 else (A6, B6)
    for _ in range(2):
        assert "b" in lab.send("a", udp(source, destination))
    packet = udp(source, destination)
    assert lab.send("a", packet[:-1]) == {}
    assert lab.drops == {DropReason.BAD_LENGTH: 1}
    (told,) = lab.send("a", udp(source, destination, payload=bytes(1300)))["a"]
    assert parse_untrusted(told).icmp_type == (3 if family == 4 else 2)
    assert lab.drops == {DropReason.BAD_LENGTH: 1, DropReason.TOO_BIG: 1}
    if family == 4:
        packet[5] ^= 1  # identification
        assert lab.send("a", packet) == {}
        assert lab.drops[DropReason.BAD_CHECKSUM] == 1
    assert "b" in lab.send("a", udp(source, destination))
    lab.check_accounting()


def test_an_error_about_a_flow_that_is_no_longer_allowed_does_not_pass() -> None:
    """P15: the flow is decided afresh on its next packet, and until then it vouches for nothing."""
    lab = Lab()
    packet = lab.send("a", udp())["b"][0]
    header = parse_untrusted(packet)
    lab.default = Action.BLOCK
    lab.vnet.changed()
    assert lab.send("b", time_exceeded(packet, header, ip(B))) == {}
    assert lab.drops == {DropReason.ICMP_UNSOLICITED: 1}


def test_forbidden_messages_do_not_pass_in_fragments() -> None:
    """P16: a redirect of two pieces is a redirect."""
    lab = Lab()
    whole = build_icmp_echo(ip(A), ip(B), ident=1, sequence=1, payload=bytes(1000))
    whole[6:8] = b"\0\0"  # may be fragmented
    whole[10:12] = b"\0\0"
    whole[10:12] = checksum(whole[:20]).to_bytes(2, "big")
    whole[20] = 5
    first, second = fragment_ipv4(whole, 600)
    assert lab.send("a", first, second) == {}
    assert lab.drops == {DropReason.ICMP_FORBIDDEN: 2}


def test_every_fragment_spends_its_own_ttl() -> None:
    """P17: the sender is told about the first one only."""
    lab = Lab()
    first, second = fragment_ipv4(udp(payload=bytes(1000), dont_fragment=False, ttl=1), 600)
    (told,) = lab.send("a", first, second)["a"]
    assert parse_untrusted(told).icmp_type == 11
    assert lab.drops == {DropReason.TTL_EXCEEDED: 2}
    first, _ = fragment_ipv4(udp(payload=bytes(1000), dont_fragment=False, ident=2), 600)
    _, second = fragment_ipv4(udp(payload=bytes(1000), dont_fragment=False, ident=2, ttl=1), 600)
    assert len(lab.send("a", first, second)["b"]) == 1
    assert lab.drops == {DropReason.TTL_EXCEEDED: 3}
    lab.check_accounting()


def test_a_tunnel_that_shows_many_shapes_does_not_grow_without_bound() -> None:
    lab = Lab()
    tunnel = lab.vnet.attachments["a"]
    for sport in range(1, CACHE_LIMIT + 100):
        lab.send("a", udp(sport=sport))
        assert len(tunnel.cache) <= CACHE_LIMIT
