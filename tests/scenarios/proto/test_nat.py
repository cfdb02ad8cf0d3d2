"""NATs by RFC 4787: who gets which public address, who gets in, and for how long."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.proto.types import Address
from scenarios.proto.nat import LOWEST_PORT, MAX_REMOTES, NATS, Behaviour, Nat, NatProfile

PUBLIC = "203.0.113.7"
PHONE, LAPTOP = ("192.168.1.20", 51820), ("192.168.1.21", 51820)
POP, POP_OTHER_PORT = ("198.51.100.1", 51820), ("198.51.100.1", 4500)
OTHER = ("198.51.100.2", 51820)
EI, AD, APD = Behaviour


def nat(profile: NatProfile | str = "port-restricted", seed: int = 1, **changes) -> Nat:
    chosen = NATS[profile] if isinstance(profile, str) else profile
    return Nat(PUBLIC, replace(chosen, **changes), Random(seed))


def out(one: Nat, inside: Address = PHONE, remote: Address = POP, now: float = 0.0) -> Address:
    source = one.outbound(inside, remote, now)
    assert source is not None
    return source


# -- mapping --


@pytest.mark.parametrize(
    ("mapping", "same_port_of_host", "other_host"),
    [(EI, True, True), (AD, True, False), (APD, False, False)],
)
def test_what_a_mapping_depends_on(mapping: Behaviour, same_port_of_host: bool, other_host: bool) -> None:
    one = nat(NatProfile(mapping=mapping))
    first = out(one)
    assert out(one) == first and first[0] == PUBLIC
    assert (out(one, remote=POP_OTHER_PORT) == first) is same_port_of_host
    assert (out(one, remote=OTHER) == first) is other_host
    assert out(one, LAPTOP) != first and out(one, (PHONE[0], 9)) != first


def test_a_port_is_kept_if_it_is_free_and_else_random() -> None:
    one = nat()
    assert out(one, PHONE) == (PUBLIC, 51820)
    other = out(one, LAPTOP)
    assert other[1] != 51820 and other[1] >= LOWEST_PORT
    assert out(nat(), LAPTOP) == (PUBLIC, 51820)
    assert out(nat(preserve_port=False))[1] != 51820


def test_the_seed_decides_the_ports() -> None:
    first, again, other = (
        [out(one, ("192.168.1.1", n))[1] for n in range(50)]
        for one in (nat("cgnat"), nat("cgnat"), nat("cgnat", seed=2))
    )
    assert first == again != other
    assert len(set(first)) == 50 and min(first) >= LOWEST_PORT


class Stuck:
    """An rng that has only one idea."""

    def random(self) -> float:
        return 1 - 2**-53


def test_no_port_is_shared_even_if_chance_has_only_one_idea() -> None:
    one = Nat(PUBLIC, NatProfile(preserve_port=False), Stuck())
    assert [out(one, (PHONE[0], n))[1] for n in range(3)] == [65535, 1024, 1025]


def test_a_look_at_a_mapping_neither_makes_nor_keeps_it() -> None:
    one = nat(timeout=30.0)
    assert one.mapped(PHONE, POP, 0.0) is None and len(one) == 0
    public = out(one)
    assert one.mapped(PHONE, POP, 29.0) == one.mapped(PHONE, OTHER, 29.0) == public
    assert one.mapped(PHONE, POP, 30.0) is None
    symmetric = nat("symmetric")
    out(symmetric)
    assert symmetric.mapped(PHONE, OTHER, 0.0) is None


# -- filtering --


@pytest.mark.parametrize(
    ("filtering", "other_port", "other_host"), [(EI, True, True), (AD, True, False), (APD, False, False)]
)
def test_who_gets_in(filtering: Behaviour, other_port: bool, other_host: bool) -> None:
    one = nat(NatProfile(filtering=filtering))
    port = out(one)[1]
    assert one.inbound(port, POP, 1.0) == PHONE
    assert (one.inbound(port, POP_OTHER_PORT, 1.0) == PHONE) is other_port
    assert (one.inbound(port, OTHER, 1.0) == PHONE) is other_host
    assert one.counters.inbound + one.counters.filtered == 3


def test_a_port_without_a_mapping_is_closed() -> None:
    one = nat("full-cone")
    port = out(one)[1]
    assert one.inbound(port + 1, POP, 0.0) is None and one.counters.unknown == 1


# -- time --


@pytest.mark.parametrize(("name", "timeout"), [("port-restricted", 120), ("symmetric", 120), ("cgnat", 30)])
def test_a_mapping_ends_after_silence_from_inside(name: str, timeout: float) -> None:
    one = nat(name)
    before = out(one, now=10.0)
    assert one.inbound(before[1], POP, 10 + timeout - 0.001) == PHONE
    assert one.inbound(before[1], POP, 10 + timeout) is None, "what came in did not refresh it"
    assert one.counters.unknown == 1
    after = out(one, now=10 + timeout)
    assert (one.counters.created, one.counters.expired, len(one)) == (2, 1, 1)
    assert (after == before) is NATS[name].preserve_port


@pytest.mark.parametrize("name", NATS)
def test_what_goes_out_refreshes(name: str) -> None:
    one = nat(name)
    pause = NATS[name].timeout - 1
    sources = {out(one, now=n * pause) for n in range(20)}
    assert len(sources) == 1
    assert one.inbound(sources.pop()[1], POP, 19 * pause + pause) == PHONE


def test_a_remote_becomes_a_stranger_although_the_mapping_lives_on() -> None:
    one = nat()
    port = out(one, now=0.0)[1]
    assert out(one, remote=OTHER, now=100.0)[1] == port
    assert one.inbound(port, POP, 119.0) == PHONE
    assert one.inbound(port, POP, 120.0) is None and one.counters.filtered == 1
    assert one.inbound(port, OTHER, 120.0) == PHONE


# -- limits --


def test_a_full_table_refuses_until_something_expires() -> None:
    one = nat(max_mappings=3)
    for n in range(3):
        out(one, (PHONE[0], 2000 + n), now=float(n))
    assert one.outbound(PHONE, POP, 3.0) is None and one.counters.full == 1
    out(one, (PHONE[0], 2000), now=4.0)  # those that are there go on, and this one is now the youngest
    assert out(one, PHONE, now=121.0) and len(one) == 3
    assert one.inbound(2000, POP, 121.0) and one.inbound(2002, POP, 121.0)
    assert one.inbound(2001, POP, 121.0) is None


def test_a_mapping_remembers_only_so_many_remotes() -> None:
    one = nat()
    remotes = [("198.51.100.9", n) for n in range(1, MAX_REMOTES + 2)]
    for remote in remotes[:-1]:
        out(one, remote=remote)
    out(one, remote=remotes[0])  # again: it is the youngest now
    port = out(one, remote=remotes[-1])[1]
    let_in = [one.inbound(port, remote, 1.0) is not None for remote in remotes]
    assert let_in == [True, False, *[True] * (MAX_REMOTES - 1)]


def test_there_is_no_hairpin() -> None:
    one = nat("full-cone")
    port = out(one, LAPTOP)[1]
    assert one.outbound(PHONE, (PUBLIC, port), 0.0) is None
    assert (one.counters.hairpin, len(one)) == (1, 1)


# -- reboot --


@pytest.mark.parametrize("name", NATS)
def test_a_reboot_forgets_and_gives_other_ports(name: str) -> None:
    one = nat(name)
    before = [out(one, (PHONE[0], 3000 + n)) for n in range(20)]
    one.rebind()
    assert len(one) == 0 and one.counters.rebinds == 1
    assert all(one.inbound(port, POP, 0.0) is None for _, port in before)
    after = [out(one, (PHONE[0], 3000 + n)) for n in range(20)]
    assert not set(before) & set(after)
    assert [one.inbound(port, POP, 0.0) for _, port in after] == [(PHONE[0], 3000 + n) for n in range(20)]


def test_a_port_of_before_is_not_hit_by_chance_either() -> None:
    one = Nat(PUBLIC, NatProfile(preserve_port=False), Stuck())
    assert out(one)[1] == 65535
    one.rebind()
    assert out(one)[1] == 1024


def test_a_reboot_may_bring_another_address() -> None:
    one = nat()
    out(one)
    one.rebind("203.0.113.99")
    assert out(one)[0] == "203.0.113.99"
    assert one.outbound(LAPTOP, ("203.0.113.99", 1), 0.0) is None
    assert out(one, remote=(PUBLIC, 1)), "that is somebody else now"


# -- always --

addresses = st.tuples(st.sampled_from(["198.51.100.1", "198.51.100.2"]), st.sampled_from([500, 501]))
insides = st.tuples(st.sampled_from(["192.168.1.1", "192.168.1.2"]), st.sampled_from([1024, 1025]))
packets = st.lists(st.tuples(st.booleans(), insides, addresses, st.floats(0, 100)), max_size=60)


@given(
    name=st.sampled_from(["port-restricted", "symmetric", "cgnat"]), packets=packets, seed=st.integers(0, 9)
)
def test_nobody_gets_in_who_was_not_sent_to(name: str, packets: list, seed: int) -> None:
    one, now = nat(name, seed=seed, max_mappings=3), 0.0
    sent: dict[tuple[int, Address], tuple[float, Address]] = {}  # (public port, remote): when, by whom
    for outbound, inside, remote, pause in packets:
        now += pause
        if outbound:
            source = one.outbound(inside, remote, now)
            if source is not None:
                sent[source[1], remote] = (now, inside)
            continue
        for port in {port for port, _ in sent}:
            reached = one.inbound(port, remote, now)
            if reached is not None:
                when, who = sent[port, remote]
                assert who == reached and now - when < NATS[name].timeout


@given(name=st.sampled_from(sorted(NATS)), pauses=st.lists(st.floats(0, 29), max_size=40), noise=packets)
def test_a_mapping_stays_while_it_is_refreshed(name: str, pauses: list[float], noise: list) -> None:
    one, now = nat(name), 0.0
    first = out(one)
    rest = iter(noise)
    for pause in pauses:
        now += pause
        for outbound, inside, remote, _ in [next(rest, (False, LAPTOP, POP, 0))]:
            if outbound:
                one.outbound(inside, remote, now)
        assert out(one, now=now) == first
        assert one.inbound(first[1], POP, now) == PHONE


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"timeout": float("nan")}, {"max_mappings": 0}, {"max_mappings": 40_000}]
)
def test_a_profile_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NatProfile(**wrong)
