"""The shells of connector and client, against a WireGuard device that the test works by hand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from ipaddress import ip_address, ip_network

import pytest
import trio
import trio.testing

from connectors.client import Client
from connectors.connector import Connector
from connectors.endpoint import Endpoint
from edge.config import public_key
from edge.errors import Refused
from edge.io.udp import UdpPort
from edge.proto.ip import build_udp
from edge.proto.types import NEVER, Address
from edge.proto.wireguard import Device, Identity, TimestampClock

PATIENCE = 10.0
POP_KEY, KEY, PSK = (sha256(name).digest() for name in (b"pop", b"alice", b"psk"))
ALICE, PBX = ip_address("100.96.0.12").packed, ip_address("10.0.50.10").packed


def udp(payload: bytes, *, ttl: int = 64, back: bool = False) -> bytearray:
    """From the PBX to alice, or `back`."""
    source, destination = (ALICE, PBX) if back else (PBX, ALICE)
    return build_udp(source, destination, 5060, 5060, payload, ttl=ttl)


class Side:
    """A host that remembers, answers, and has a clock of its own."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.outbox: list[bytearray] = []
        self.deadline = NEVER
        self.due: list[float] = []
        self.answer: Callable[[bytearray], list[bytearray]] = lambda packet: []

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        for packet in packets:
            self.received.append(bytes(packet))
            self.outbox += self.answer(packet)

    def poll_packets(self) -> list[bytearray]:
        out, self.outbox = self.outbox, []
        return out

    def handle_timeout(self, now: float) -> None:
        if now >= self.deadline:
            self.due.append(now)
            self.deadline = NEVER

    def poll_timeout(self) -> float:
        return self.deadline


class Pop:
    """The other end: no task, no timer; ``until`` moves it."""

    def __init__(self, *, psk: bytes | None = None) -> None:
        now = trio.current_time()
        count = iter(range(1_000_000))
        self.port = UdpPort.bind(("127.0.0.1", 0), reads=64)
        self.device = Device(
            Identity.from_bytes(POP_KEY),
            rng=lambda size: sha256(b"%d" % next(count)).digest()[:size],
            clock=TimestampClock(time.time() - now),
            now=now,
        )
        self.tunnel = self.device.add_peer("alice", public_key(KEY), psk=psk)
        self.received: list[bytes] = []

    def step(self) -> None:
        now = trio.current_time()
        while reads := self.port.receive():
            for _, packets in self.device.open(reads, now):
                self.received += map(bytes, packets)
        self.port.send(self.device.poll_transmit())

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                self.step()
                await trio.sleep(0.001)

    def send(self, *packets: bytearray) -> None:
        self.device.seal(self.tunnel, list(packets), trio.current_time())
        self.port.send(self.device.poll_transmit())


@asynccontextmanager
async def pop(**rest) -> AsyncIterator[Pop]:
    one = Pop(**rest)
    try:
        yield one
    finally:
        one.port.close()


def client(to: Address, side: Side, **rest) -> Client:
    return Client("alice", KEY, public_key(POP_KEY), to, side, **rest)


@asynccontextmanager
async def running(end: Endpoint) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        assert await nursery.start(end.run) is end
        yield nursery
        nursery.cancel_scope.cancel()


async def test_a_client_comes_up_by_itself_and_carries_packets_both_ways() -> None:
    side = Side()
    side.answer = lambda packet: [udp(b"answer", back=True)]
    async with pop() as hub:
        end = client(hub.port.address, side)
        assert not end.up and end.statistics().handshakes == 0
        async with running(end):
            await hub.until(lambda: end.up and hub.tunnel.is_up(trio.current_time()))
            await end.wait_up()
            assert hub.tunnel.endpoint == end.address
            hub.send(udp(b"question"))  # padded to 16 bytes on the way
            await hub.until(lambda: bool(hub.received))
            assert side.received == [bytes(udp(b"question"))], "no padding, nothing changed"
            assert hub.received[0].startswith(udp(b"answer", back=True))
            seen = end.statistics()
            assert (seen.packets_in, seen.packets_out, seen.handshakes) == (1, 1, 1)
            assert seen.last_handshake_seconds is not None and seen.datagrams_dropped == 0


async def test_a_connector_is_a_hop_and_keeps_to_its_routes() -> None:
    lan = Side()
    async with pop() as hub:
        end = Connector(
            "hq", KEY, public_key(POP_KEY), hub.port.address, lan, [ip_network("10.0.50.0/24")], on_lan=()
        )
        async with running(end):
            await hub.until(lambda: hub.tunnel.is_up(trio.current_time()))
            hub.send(udp(b"not for the site"), udp(b"for the PBX", back=True))
            await hub.until(lambda: bool(lan.received))
            assert lan.received == [bytes(udp(b"for the PBX", back=True, ttl=63))]
            lan.outbox += [udp(b"true source"), udp(b"false source", back=True)]
            end.wake()
            await hub.until(lambda: bool(hub.received))
            assert [p[8] for p in hub.received] == [63] and b"true source" in hub.received[0]
            assert end.router.drops.total() == 2


async def test_wake_makes_it_look_at_its_side() -> None:
    side = Side()
    async with pop() as hub:
        end = client(hub.port.address, side)
        end.wake()  # before it runs: harmless
        async with running(end):
            await hub.until(lambda: hub.tunnel.is_up(trio.current_time()))
            await trio.testing.wait_all_tasks_blocked()
            for n in range(3):
                side.outbox.append(udp(b"%d" % n, back=True))
                end.wake()
                await hub.until(lambda n=n: len(hub.received) == n + 1)
        end.wake()  # and after


async def test_what_its_side_says_first_waits_for_the_handshake() -> None:
    side = Side()
    side.outbox.append(udp(b"early", back=True))
    async with pop() as hub:
        end = client(hub.port.address, side)
        async with running(end):
            end.wake()
            await hub.until(lambda: bool(hub.received))
            assert b"early" in hub.received[0]


async def test_deadlines_of_its_side_are_kept() -> None:
    side = Side()
    async with pop() as hub:
        end = client(hub.port.address, side)
        async with running(end):
            await hub.until(lambda: end.up)
            await trio.testing.wait_all_tasks_blocked()
            wanted = side.deadline = trio.current_time() + 0.02
            end.wake()
            await hub.until(lambda: bool(side.due))
            assert side.due[0] >= wanted


@pytest.mark.parametrize(("ours", "theirs", "up"), [(PSK, PSK, True), (PSK, None, False), (None, PSK, False)])
async def test_the_preshared_key_must_agree(ours: bytes | None, theirs: bytes | None, up: bool) -> None:
    async with pop(psk=theirs) as hub:
        end = client(hub.port.address, Side(), psk=ours)
        async with running(end):
            if up:
                await hub.until(lambda: end.up)
            else:
                await hub.until(lambda: end.statistics().datagrams_dropped == 1)
                assert not end.up


async def test_what_strangers_send_is_dropped() -> None:
    side = Side()
    async with pop() as hub:
        end = client(hub.port.address, side)
        async with running(end):
            await hub.until(lambda: hub.tunnel.is_up(trio.current_time()))
            stranger = UdpPort.bind(("127.0.0.1", 0))
            stranger.send([(end.address, [bytes(n) for n in (1, 32, 92, 148, 1400)])])
            await hub.until(lambda: end.statistics().datagrams_dropped == 5)
            stranger.close()
            hub.send(udp(b"still here"))
            await hub.until(lambda: len(side.received) == 1)


async def test_who_has_moved_says_so_at_once() -> None:
    async with pop() as hub:
        end = client(hub.port.address, Side(), keepalive=None)
        end.moved()  # before it runs: harmless
        async with running(end):
            await hub.until(lambda: hub.tunnel.is_up(trio.current_time()))
            await trio.testing.wait_all_tasks_blocked()
            hub.step()
            heard = hub.device.datagrams_in
            end.moved()
            await hub.until(lambda: hub.device.datagrams_in > heard)
        end.moved()


async def test_who_redials_finds_the_pop_elsewhere_and_its_side_as_it_was() -> None:
    side = Side()
    async with pop() as old, pop() as new:
        end = client(old.port.address, side)
        ways: list[str] = []
        end.on_way = ways.append
        assert not end.answers
        async with running(end):
            await old.until(lambda: old.tunnel.is_up(trio.current_time()))
            assert end.answers
            side.outbox.append(udp(b"one", back=True))
            end.wake()
            await old.until(lambda: bool(old.received))
            end.redial(new.port.address, None, ("127.0.0.1", 0))
            await new.until(lambda: new.tunnel.is_up(trio.current_time()))
            assert end.answers and end.pop == new.port.address
            side.outbox.append(udp(b"two", back=True))
            end.wake()
            await new.until(lambda: bool(new.received))
            new.send(udp(b"answer"))
            await new.until(lambda: bool(side.received))
            seen = end.statistics()
            assert (seen.packets_out, seen.handshakes, len(old.received)) == (2, 2, 1)
            assert ways == ["wireguard", "", "wireguard"]


async def test_who_redials_is_no_replay_though_the_wall_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pop() as hub:
        end = client(hub.port.address, Side())
        async with running(end):
            await hub.until(lambda: end.up)
            now = time.time()
            monkeypatch.setattr(time, "time", lambda: now - 3600)
            end.redial(hub.port.address, None, ("127.0.0.1", 0))
            await hub.until(lambda: end.answers and hub.tunnel.handshakes == 2)


async def test_who_is_not_answered_knows_it(autojump_clock: trio.testing.MockClock) -> None:
    """Silence of a PoP that has nothing to say is no sign; an initiation without a response is one."""
    async with pop() as hub:
        end = client(hub.port.address, Side(), keepalive=20.0)
        async with running(end):
            while not end.up:
                await hub.port.wait_readable()
                hub.step()
                await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.sleep(100)
            assert end.answers
            await trio.sleep(100)  # new keys have been due
            assert not end.answers


async def test_a_stop_delivers_what_has_arrived_and_sends_what_is_said_to_it() -> None:
    side = Side()
    side.answer = lambda packet: [udp(b"bye", back=True)]
    async with pop() as hub:
        end = client(hub.port.address, side)
        async with running(end) as nursery:
            await hub.until(lambda: hub.tunnel.is_up(trio.current_time()))
            await trio.testing.wait_all_tasks_blocked()
            for n in range(20):
                hub.send(udp(b"%d" % n))
            nursery.cancel_scope.cancel()
        assert side.received == [bytes(udp(b"%d" % n)) for n in range(20)]
        hub.step()
        assert len(hub.received) == 20


async def test_a_stop_frees_the_port_and_it_can_run_again() -> None:
    async with pop() as hub:
        end = client(hub.port.address, Side())
        async with running(end):
            await hub.until(lambda: end.up)
            address = end.address
        UdpPort.bind(address).close()
        await trio.sleep(0.03)  # a peer takes no two handshakes within 20 ms
        async with running(end):
            assert not end.up
            await hub.until(lambda: end.up and hub.tunnel.handshakes == 2)
        assert end.statistics().handshakes == 1, "of the run"


async def test_a_port_that_is_taken_is_refused() -> None:
    async with pop() as hub:
        end = client(hub.port.address, Side(), bind=hub.port.address)
        with pytest.raises(Refused, match="taken"):
            await end.run()


async def test_a_pop_that_is_not_there_yet_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    """WireGuard repeats an initiation after five seconds."""
    async with pop() as hub:
        end = client(hub.port.address, Side())
        async with running(end):
            with trio.fail_after(60):
                await hub.port.wait_readable()
            hub.port.receive()  # lost
            while not end.up:
                with trio.fail_after(60):
                    await hub.port.wait_readable()
                hub.step()
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert hub.tunnel.handshakes <= 1


def test_no_key_is_in_its_repr() -> None:
    end = client(("127.0.0.1", 1), Side(), psk=PSK)
    assert repr(end) == "<Client alice up=False>"
