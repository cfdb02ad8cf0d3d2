"""Real sockets on 127.0.0.1 with a path in between; the clock is virtual, so seconds of delay take none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from connectors.client import Client
from connectors.connector import Connector
from connectors.endpoint import Endpoint
from edge.config import public_key
from edge.io.driver import Driver
from edge.io.udp import UdpPort
from edge.proto.types import NEVER, Address, DropReason
from edge.proto.wireguard import Device, Identity, TimestampClock
from scenarios.fabric.linked_port import LinkedPort
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger
from scenarios.proto.link import IPV4_UDP
from scenarios.proto.link_pair import Direction, LinkPair
from scenarios.proto.link_profile import PRESETS, GilbertElliott, LinkProfile, PathProfile
from scenarios.proto.nat import NATS, Nat

HERE = ("127.0.0.1", 0)
POP_KEY, KEY = (sha256(name).digest() for name in (b"pop", b"alice"))


def path(up: LinkProfile | None = None, down: LinkProfile | None = None, **both) -> LinkPair:
    plain = LinkProfile(**both)
    return LinkPair.of(PathProfile(up or plain, down or plain), Random("up"), Random("down"))


@contextmanager
def ends(links: LinkPair, **rest) -> Iterator[tuple[LinkedPort, UdpPort]]:
    """A port behind the path, and the one that it talks to."""
    port, pop = LinkedPort(links, **rest).bind(HERE), UdpPort.bind(HERE, reads=64)
    try:
        yield port, pop
    finally:
        port.close()
        pop.close()


async def heard(port: UdpPort | LinkedPort, seconds: float = 60.0) -> list[bytes]:
    """Everything that arrives within so many virtual seconds, in order."""
    driver, until, found = Driver(port), trio.current_time() + seconds, []
    while trio.current_time() < until:
        for data, segment, _ in await driver.wait(until):
            found += [bytes(data[n : n + segment]) for n in range(0, len(data), segment)]
    return found


async def exchange(
    sender: UdpPort | LinkedPort, receiver: UdpPort | LinkedPort, sent: list[bytes]
) -> list[bytes]:
    """What of `sent` arrives."""
    arrived: list[bytes] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _hear() -> None:
            arrived.extend(await heard(receiver))

        @nursery.start_soon
        async def _drive() -> None:
            if isinstance(sender, LinkedPort):
                assert await heard(sender) == []

        for start in range(0, len(sent), 40):
            sender.send([(receiver.address, sent[start : start + 40])])
            await trio.sleep(0.01)
    return arrived


def numbered(count: int, size: int = 200) -> list[bytes]:
    return [n.to_bytes(2) * (size // 2) for n in range(count)]


class Way:
    """Up or down: the same must hold for both."""

    def __init__(self, direction: Direction, profile: LinkProfile) -> None:
        up = direction is Direction.UP
        self.links = path(up=profile) if up else path(down=profile)
        self.link = self.links.up if up else self.links.down
        self.up = up

    async def __call__(self, sent: list[bytes], **rest) -> list[bytes]:
        with ends(self.links, **rest) as (port, pop):
            arrived = await exchange(*((port, pop) if self.up else (pop, port)), sent)
            assert port.in_flight == 0
            self.drops = port.drops
            return arrived


ways = pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN])


@ways
@pytest.mark.parametrize("delay", [0.0, 0.5])
async def test_all_arrives_in_order(autojump_clock: MockClock, direction: Direction, delay: float) -> None:
    way, sent = Way(direction, LinkProfile(delay=delay)), numbered(200)[::-1]
    assert await way(sent) == sent
    assert (way.link.counters.carried, way.link.counters.bytes) == (200, 200 * (200 + IPV4_UDP))


@ways
@pytest.mark.parametrize("loss", [0.3, GilbertElliott(0.1, 0.3)])
async def test_what_the_link_loses_does_not_arrive(
    autojump_clock: MockClock, direction: Direction, loss: float | GilbertElliott
) -> None:
    way, sent = Way(direction, LinkProfile(loss=loss)), numbered(200)
    arrived = await way(sent)
    assert 0 < way.link.counters.lost == 200 - len(arrived)
    assert arrived == [one for one in sent if one in arrived]


@ways
async def test_duplicates_arrive_twice(autojump_clock: MockClock, direction: Direction) -> None:
    way, sent = Way(direction, LinkProfile(duplicate=0.5)), numbered(100)
    arrived = await way(sent)
    assert 0 < way.link.counters.duplicated == len(arrived) - 100
    assert sorted(set(arrived)) == sorted(sent)


@ways
async def test_corruption_flips_one_bit(autojump_clock: MockClock, direction: Direction) -> None:
    way = Way(direction, LinkProfile(corrupt=1.0))
    arrived = await way([bytes(200)] * 50)
    assert [int.from_bytes(one).bit_count() for one in arrived] == [1] * 50


@ways
async def test_held_back_datagrams_are_overtaken(autojump_clock: MockClock, direction: Direction) -> None:
    way, sent = Way(direction, LinkProfile(reorder=0.2)), numbered(100)
    arrived = await way(sent)
    assert arrived != sent and sorted(arrived) == sorted(sent)


@ways
async def test_the_mtu_counts_outer_headers(autojump_clock: MockClock, direction: Direction) -> None:
    way = Way(direction, LinkProfile(mtu=1400))
    assert await way([bytes(1400 - IPV4_UDP), bytes(1401 - IPV4_UDP)]) == [bytes(1400 - IPV4_UDP)]
    assert way.link.counters.too_big == 1


@ways
async def test_a_rate_queues_and_drops(autojump_clock: MockClock, direction: Direction) -> None:
    way = Way(direction, LinkProfile(rate=1e5, queue=(200 + IPV4_UDP) * 10))
    sent = numbered(40)
    assert await way(sent) == sent[:10]
    assert way.link.counters.queue_full == 30


@ways
async def test_no_more_is_on_its_way_than_there_is_room_for(
    autojump_clock: MockClock, direction: Direction
) -> None:
    way, sent = Way(direction, LinkProfile(delay=1.0)), numbered(100)
    assert await way(sent, in_flight=70) == sent[:70]
    assert way.drops == {DropReason.QUEUE_FULL: 30}


async def test_a_clear_path_keeps_what_the_kernel_has_merged(autojump_clock: MockClock) -> None:
    with ends(path()) as (port, pop):
        if not pop.gro:
            pytest.skip("this kernel has no UDP_GRO")
        for sender, receiver in ((port, pop), (pop, port)):
            sender.send([(receiver.address, numbered(20))])
            await receiver.wait_readable()
            ((data, segment, _),) = receiver.receive()
            assert (len(data), segment) == (4000, 200)


async def test_equal_datagrams_that_are_due_together_leave_together(autojump_clock: MockClock) -> None:
    with ends(path(delay=0.1)) as (port, pop):
        if not pop.gro:
            pytest.skip("this kernel has no UDP_GRO")
        port.send([(pop.address, numbered(20))])
        await port.wait_readable()
        assert port.receive() == []
        assert [(len(data), segment) for data, segment, _ in pop.receive()] == [(4000, 200)]


async def test_what_becomes_clear_does_not_overtake(autojump_clock: MockClock) -> None:
    links = path(delay=5.0)
    with ends(links) as (port, pop):
        port.send([(pop.address, [b"first"])])
        pop.send([(port.address, [b"erster"])])
        assert await heard(port, 1.0) == []
        links.degrade(LinkProfile())
        port.send([(pop.address, [b"second"])])
        pop.send([(port.address, [b"zweiter"])])
        assert await heard(port) == [b"erster", b"zweiter"]
        assert await heard(pop) == [b"first", b"second"]


async def test_what_is_due_but_has_not_left_yet_is_not_overtaken_either(autojump_clock: MockClock) -> None:
    links = path(delay=5.0)
    with ends(links) as (port, pop):
        port.send([(pop.address, [b"first"])])
        await trio.sleep(6)
        links.degrade(LinkProfile())
        port.send([(pop.address, [b"second"])])
        assert await heard(pop) == [b"first", b"second"]


async def test_a_partition_is_one_way(autojump_clock: MockClock) -> None:
    links = path()
    with ends(links) as (port, pop):
        links.partition(Direction.UP)
        assert await exchange(port, pop, numbered(5)) == []
        assert await exchange(pop, port, numbered(5)) == numbered(5)
        links.heal()
        assert await exchange(port, pop, numbered(5)) == numbered(5)


async def test_waiting_for_what_is_on_its_way_takes_no_turns(autojump_clock: MockClock) -> None:
    with ends(path(delay=30.0)) as (port, pop):
        driver = Driver(port)
        port.send([(pop.address, [b"x"])])
        with trio.fail_after(300):
            assert await driver.wait(NEVER) == []
            ((data, _, _),) = pop.receive()
            assert bytes(data) == b"x"
            pop.send([(port.address, [b"y"])])
            ((data, _, source),) = await driver.wait(NEVER)
            assert (bytes(data), source) == (b"y", pop.address)


async def test_poll_knows_what_is_due(autojump_clock: MockClock) -> None:
    with ends(path(delay=0.001)) as (port, pop):
        assert not port.poll(0.0)
        port.send([(pop.address, [b"x"])])
        assert not port.poll(0.0) and port.poll(0.001)


# -- a new address --


async def test_a_new_port_wakes_whoever_waits_and_the_old_one_is_free(autojump_clock: MockClock) -> None:
    with ends(path(delay=1.0)) as (port, pop):
        before = port.address
        arrived: list[bytes] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _hear() -> None:
                arrived.extend(await heard(port))

            await wait_all_tasks_blocked()
            port.rebind()
            assert port.address != before
            UdpPort.bind(before).close()
            pop.send([(before, [b"to the old one"]), (port.address, [b"to the new one"])])
        assert arrived == [b"to the new one"]


async def test_a_nat_lets_only_those_in_that_were_sent_to_and_forgets_them(autojump_clock: MockClock) -> None:
    nat = Nat("203.0.113.7", NATS["cgnat"], Random(1))
    with ends(path(), nat=nat) as (port, pop):
        assert await exchange(pop, port, [b"unasked"]) == []
        before = port.address
        port.send([(pop.address, [b"hello"] * 3)])
        assert nat.counters.outbound == 3
        pop.send([(port.address, [b"answer"])])
        stranger = UdpPort.bind(HERE)
        stranger.send([(port.address, [b"stranger"])])
        stranger.close()
        assert await heard(port, 29.0) == [b"answer"]
        pop.send([(port.address, [b"in time"])])
        assert await heard(port, 2.0) == [b"in time"]
        pop.send([(port.address, [b"too late"])])
        assert await heard(port, 1.0) == []
        assert port.address == before
        port.send([(pop.address, [b"again"])])
        assert port.address != before, "another mapping"
        pop.send([(port.address, [b"answer"])])
        assert await heard(port, 1.0) == [b"answer"]
        assert (nat.counters.unknown, nat.counters.filtered) == (2, 1)


async def test_a_nat_that_reboots_is_deaf_until_something_leaves(autojump_clock: MockClock) -> None:
    nat = Nat("203.0.113.7", NATS["port-restricted"], Random(1))
    with ends(path(), nat=nat) as (port, pop):
        port.send([(pop.address, [b"hello"])])
        before = port.address
        port.rebind()
        assert await exchange(pop, port, [b"to the old one"]) == []
        port.send([(pop.address, [b"hello"])])
        assert port.address != before
        pop.send([(port.address, [b"to the new one"])])
        assert await heard(port, 1.0) == [b"to the new one"]


@pytest.mark.parametrize("kind", [None, "port-restricted"])
async def test_what_is_on_its_way_keeps_the_address_that_it_had(
    autojump_clock: MockClock, kind: str | None
) -> None:
    """Up it comes from the old address, whatever the machine has become since; down it reaches nobody there."""
    nat = None if kind is None else Nat("203.0.113.7", NATS[kind], Random(1))
    with ends(path(delay=1.0), nat=nat) as (port, pop):
        port.send([(pop.address, [b"before"])])
        before = port.address
        pop.send([(before, [b"to the old one"])])
        assert port.receive() == [] and port.in_flight == 2
        port.rebind()
        port.send([(pop.address, [b"after"])])
        assert port.address != before
        assert await heard(port, 2.0) == []
        assert [(bytes(data), source) for data, _, source in pop.receive()] == [
            (b"before", before),
            (b"after", port.address),
        ]
        UdpPort.bind(before).close()  # and then it is free


async def test_what_the_nat_refuses_does_not_leave(autojump_clock: MockClock) -> None:
    nat = Nat("127.0.0.1", NATS["full-cone"], Random(1))  # the PoP's address, so this is a hairpin
    with ends(path(), nat=nat) as (port, pop):
        assert await exchange(port, pop, numbered(3)) == []
        assert nat.counters.hairpin == 3


async def test_drops_of_a_socket_that_is_gone_are_still_counted(autojump_clock: MockClock) -> None:
    with ends(path()) as (port, _):
        for _ in range(2):
            port.send([(("127.0.0.1", 0), [b"x"])])  # no datagram can go to port 0
            port.rebind()
        assert port.drops == {DropReason.OTHER: 2}


async def test_a_stop_loses_what_is_on_its_way_and_it_can_be_bound_again(autojump_clock: MockClock) -> None:
    with ends(path(delay=1.0)) as (port, pop):
        port.send([(("127.0.0.1", 0), [b"x"])])
        pop.send([(port.address, [b"x"])])
        assert port.receive() == [] and port.in_flight == 2
        port.close()
        assert port.in_flight == 0 and not port.drops
        port.bind(HERE)
        assert await exchange(port, pop, numbered(3)) == numbered(3)


async def test_a_stop_keeps_the_counts_and_begins_with_no_mapping(autojump_clock: MockClock) -> None:
    nat = Nat("203.0.113.7", NATS["port-restricted"], Random(1))
    with ends(path(), nat=nat) as (port, pop):
        port.send([(("127.0.0.1", 0), [b"x"])])
        port.close()
        assert port.drops == {DropReason.OTHER: 1}
        before = port.bind(HERE).address
        port.send([(pop.address, [b"x"])])
        assert port.address == before and port.drops == {DropReason.OTHER: 1}


# -- an endpoint behind it --


class Pop:
    """The other end of a tunnel."""

    def __init__(self) -> None:
        now = trio.current_time()
        self.port = UdpPort.bind(HERE, reads=64)
        self.device = Device(
            Identity.from_bytes(POP_KEY),
            rng=Random(1).randbytes,
            clock=TimestampClock(time.time() - now),
            now=now,
        )
        self.tunnel = self.device.add_peer("alice", public_key(KEY))

    async def run(self) -> None:
        driver = Driver(self.port)
        while True:
            reads = await driver.wait(self.device.poll_timeout().at)
            now = trio.current_time()
            self.device.open(reads, now)
            self.device.handle_timeout(now)
            self.port.send(self.device.poll_transmit())


@asynccontextmanager
async def tunnelled(port: LinkedPort, kind: type[Endpoint]) -> AsyncIterator[tuple[Pop, Endpoint]]:
    pop = Pop()
    rest = ([],) if kind is Connector else ()
    side = Host("alice", "100.96.0.12", vnet="acme", ledger=Ledger())
    end = kind(
        "alice", KEY, public_key(POP_KEY), pop.port.address, side, *rest, keepalive=10.0, open_port=port.bind
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pop.run)
            await nursery.start(end.run)
            yield pop, end
            nursery.cancel_scope.cancel()
    finally:
        pop.port.close()


@pytest.mark.parametrize("kind", [Client, Connector])
@pytest.mark.parametrize("preset", ["satellite", "lossy"])
async def test_a_tunnel_comes_up_over_a_bad_path(
    autojump_clock: MockClock, kind: type[Endpoint], preset: str
) -> None:
    links = LinkPair.of(PRESETS[preset], Random("up"), Random("down"))
    async with tunnelled(LinkedPort(links), kind) as (pop, end):
        with trio.fail_after(120):
            await end.wait_up()
        seconds = end.statistics().last_handshake_seconds
        assert seconds is not None and seconds >= links.up.profile.delay
        assert links.up.counters.carried and links.down.counters.carried
        assert pop.tunnel.endpoint == end.address


@pytest.mark.parametrize("name", [None, "port-restricted"])
async def test_the_pop_follows_an_endpoint_to_its_new_port(
    autojump_clock: MockClock, name: str | None
) -> None:
    nat = Nat("203.0.113.7", NATS[name], Random(1)) if name else None
    port = LinkedPort(path(delay=0.02), nat=nat)
    async with tunnelled(port, Client) as (pop, end):
        with trio.fail_after(60):
            await end.wait_up()
        before: Address = end.address
        port.rebind()
        await trio.sleep(30)  # a keepalive or three
        assert pop.tunnel.endpoint == end.address != before
        assert end.statistics().handshakes == 1
