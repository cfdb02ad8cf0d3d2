"""The UDP port, with and without segmentation offload, and the driver that waits on it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
import trio
import trio.testing

from edge.errors import Refused
from edge.io import mmsg
from edge.io.dialled import SOL_UDP
from edge.io.driver import Driver
from edge.io.udp import (
    IP_MTU_DISCOVER,
    IP_PMTUDISC_DONT,
    LARGE_READ,
    LARGE_READS,
    UDP_SEGMENT,
    UdpPort,
)
from edge.proto.types import NEVER, Address, DropReason

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
OFFLOADS = [(True, True), (False, False), (True, False), (False, True)]
MANY = [False, *([True] if mmsg.available() else [])]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


families = pytest.mark.parametrize(
    "family",
    [
        socket.AF_INET,
        pytest.param(
            socket.AF_INET6,
            marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback interface"),
        ),
    ],
    ids=["v4", "v6"],
)
offloads = pytest.mark.parametrize(("gro", "gso"), OFFLOADS, ids=["both", "neither", "gro", "gso"])


@pytest.fixture(params=MANY, ids=["one", "many"][: len(MANY)], autouse=True)
def _calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this file twice: with a system call for each datagram, and with one for many."""
    monkeypatch.setattr(mmsg, "available", lambda: request.param)


@contextmanager
def port(
    *, family: int = socket.AF_INET, gro: bool = True, gso: bool = True, reads: int = 64
) -> Iterator[UdpPort]:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((LOOPBACK[socket.AddressFamily(family)], 0))
    opened = UdpPort(sock, reads=reads, gro=gro, gso=gso)
    try:
        yield opened
    finally:
        opened.close()


def datagrams(receiver: UdpPort) -> list[tuple[bytes, Address]]:
    """Everything that one ``receive`` brings, cut at the segment size as a tunnel core does."""
    return [
        (bytes(data[start : start + segment]), source)
        for data, segment, source in receiver.receive()
        for start in range(0, len(data), segment)
    ]


async def arrived(receiver: UdpPort, count: int) -> list[tuple[bytes, Address]]:
    found: list[tuple[bytes, Address]] = []
    with trio.fail_after(5):
        while len(found) < count:
            await receiver.wait_readable()
            found += datagrams(receiver)
    assert receiver.receive() == []
    return found


PAYLOADS = {
    "one": [b"hello"],
    "equal": [bytes([n]) * 200 for n in range(40)],
    "last shorter": [*(bytes([n]) * 1400 for n in range(20)), b"tail"],
    "all different": [bytes([n]) * (n + 1) for n in range(30)],
    "runs": [bytes([n]) * (100 if n % 10 < 5 else 900) for n in range(60)],
    "more than 64 segments": [n.to_bytes(2) * 20 for n in range(150)],
    "more than 64 KiB": [n.to_bytes(2) * 700 for n in range(120)],
    "largest": [b"x" * 65507],
    "two of 32 KiB": [b"a" * 32768, b"b" * 32768],
}


@families
@offloads
@pytest.mark.parametrize("payloads", PAYLOADS.values(), ids=PAYLOADS.keys())
async def test_what_is_sent_arrives_whole_in_order_and_with_its_source(
    family: int, gro: bool, gso: bool, payloads: list[bytes]
) -> None:
    with port(family=family, gso=gso) as sender, port(family=family, gro=gro) as receiver:
        sender.send([(receiver.address, payloads)])
        assert await arrived(receiver, len(payloads)) == [(p, sender.address) for p in payloads]
        assert not sender.drops


@offloads
async def test_batches_reach_their_own_destinations(gro: bool, gso: bool) -> None:
    with port(gso=gso) as sender, port(gro=gro) as first, port(gro=gro) as second:
        sender.send(
            [(first.address, [b"1a", b"1b"]), (second.address, [b"2"]), (first.address, [b"1c"])],
        )
        assert [data for data, _ in await arrived(first, 3)] == [b"1a", b"1b", b"1c"]
        assert [data for data, _ in await arrived(second, 1)] == [b"2"]


async def test_merged_datagrams_of_which_the_last_is_shorter_are_told_apart() -> None:
    """As a kernel of today merges them: one write of 250 bytes in segments of 100."""
    with port() as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        if not receiver.gro:
            pytest.skip("this kernel has no UDP_GRO")
        segments = [(SOL_UDP, UDP_SEGMENT, (100).to_bytes(2, "little"))]
        sender.sendmsg([b"a" * 100 + b"b" * 100 + b"c" * 50], segments, 0, receiver.address)
        assert [data for data, _ in await arrived(receiver, 3)] == [b"a" * 100, b"b" * 100, b"c" * 50]


async def test_one_receive_brings_no_more_than_it_has_buffers_for() -> None:
    with port(gro=False, reads=3) as receiver, port(gso=False) as sender:
        sender.send([(receiver.address, [bytes([n]) for n in range(5)])])
        with trio.fail_after(5):
            await receiver.wait_readable()
        assert [len(datagrams(receiver)) for _ in range(3)] == [3, 2, 0]


async def test_after_a_large_read_fewer_are_brought_at_once() -> None:
    with port(gro=False, reads=LARGE_READS + 2) as receiver, port(gso=False) as sender:
        for size, then in ((LARGE_READ + 1, LARGE_READS), (LARGE_READ, LARGE_READS + 2)):
            sender.send([(receiver.address, [bytes(size)])])
            with trio.fail_after(5):
                await receiver.wait_readable()
            assert len(receiver.receive()) == 1
            sender.send([(receiver.address, [b"x"] * (LARGE_READS + 2))])
            with trio.fail_after(5):
                await receiver.wait_readable()
            assert len(receiver.receive()) == then
            receiver.receive()


async def test_an_empty_datagram_is_nothing() -> None:
    with port() as receiver, port() as sender:
        sender.send([(receiver.address, [b"", b"", b"x"])])
        assert [data for data, _ in await arrived(receiver, 1)] == [b"x"]


@offloads
def test_an_unreachable_destination_is_a_counted_drop_and_spoils_no_other(gro: bool, gso: bool) -> None:
    with port(gso=gso) as sender, port(gro=gro) as receiver:
        nowhere = ("127.0.0.1", 0)  # no datagram can go to port 0
        sender.send([(nowhere, [b"one"]), (nowhere, [b"many"] * 3), (receiver.address, [b"fine"])])
        assert sender.drops == {DropReason.OTHER: 4}
        assert [data for data, _ in datagrams(receiver)] == [b"fine"]


async def test_many_destinations_of_which_some_cannot_be_reached() -> None:
    nowhere = [("127.0.0.1", 0), ("::1", 9), ("256.1.1.1", 9)]
    with port() as sender, port() as first, port() as second:
        batches: list[tuple[Address, list[bytes]]] = []
        for n in range(100):
            batches += [(first.address, [b"a%d" % n]), (second.address, [b"b%d" % n])]
        batches[30:30] = [(address, [b"lost"]) for address in nowhere]
        batches = [(nowhere[0], [b"lost"]), *batches, (nowhere[1], [b"lost"])]
        sender.send(batches)
        assert sender.drops == {DropReason.OTHER: 5}
        assert [data for data, _ in await arrived(first, 100)] == [b"a%d" % n for n in range(100)]
        assert [data for data, _ in await arrived(second, 100)] == [b"b%d" % n for n in range(100)]


async def test_more_strangers_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmsg, "ADDRESSES", 3)
    with ExitStack() as stack:
        hub = stack.enter_context(port())
        strangers = [stack.enter_context(port()) for _ in range(10)]
        for _ in range(2):
            for stranger in strangers:
                stranger.send([(hub.address, [b"to"])])
            assert await arrived(hub, 10) == [(b"to", stranger.address) for stranger in strangers]
            hub.send([(stranger.address, [b"back"]) for stranger in strangers])
            for stranger in strangers:
                assert await arrived(stranger, 1) == [(b"back", hub.address)]


def test_an_address_of_the_other_family_is_a_counted_drop() -> None:
    with port() as sender:
        sender.send([(("::1", 9), [b"x"])])
        assert sender.drops.total() == 1


def test_nobody_listening_is_no_error() -> None:
    with port() as sender, port() as gone:
        address = gone.address
        gone.close()
        for _ in range(3):  # the ICMP error of the first could surface at the next
            sender.send([(address, [b"x"])])
            assert sender.receive() == []


def test_too_large_a_datagram_is_a_counted_drop() -> None:
    with port() as sender, port() as receiver:
        sender.send([(receiver.address, [b"x" * 65508, b"y"])])
        assert sender.drops.total() == 1
        assert [data for data, _ in datagrams(receiver)] == [b"y"]


def test_a_full_receive_buffer_loses_datagrams_but_never_blocks() -> None:
    with port(gso=False) as sender, port(gro=False, reads=4096) as receiver:
        sender.send([(receiver.address, [bytes(60000)] * 200)])
        assert 0 < len(datagrams(receiver)) < 200


# -- binding --


def test_bind_takes_a_free_port_if_none_is_named() -> None:
    opened = UdpPort.bind(("127.0.0.1", 0))
    try:
        host, number = opened.address
        assert host == "127.0.0.1" and number > 0
    finally:
        opened.close()


@families
def test_a_port_that_is_taken_is_refused_with_the_remedy(family: int) -> None:
    with port(family=family) as holder, pytest.raises(Refused) as refused:
        UdpPort.bind(holder.address)
    text = str(refused.value)
    assert "taken" in text and f":{holder.address[1]}" in text
    assert "fix:" in text and "ss -ulpn" in text
    assert refused.value.exit_code == 2


def test_an_address_of_another_machine_is_refused_with_the_remedy() -> None:
    with pytest.raises(Refused, match="does not have that address") as refused:
        UdpPort.bind(("192.0.2.1", 0))  # RFC 5737: nobody has it
    assert "fix:" in str(refused.value)


# -- the driver --

lingering = pytest.mark.parametrize("linger", [0.0, 0.001])


async def test_the_driver_brings_what_is_there_and_waits_for_what_is_not() -> None:
    with port() as receiver, port() as sender:
        driver = Driver(receiver)
        sender.send([(receiver.address, [b"now"])])
        with trio.fail_after(5):
            ((data, _, source),) = await driver.wait(NEVER)
        assert (bytes(data), source) == (b"now", sender.address)

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _wait() -> None:
                with trio.fail_after(5):
                    ((data, _, _),) = await driver.wait(NEVER)
                assert bytes(data) == b"later"

            await trio.testing.wait_all_tasks_blocked()
            sender.send([(receiver.address, [b"later"])])


async def test_a_deadline_ends_the_wait(autojump_clock: trio.testing.MockClock) -> None:
    with port() as receiver:
        driver = Driver(receiver)
        before = trio.current_time()
        assert await driver.wait(before + 30) == []
        assert trio.current_time() >= before + 30
        assert await driver.wait(before) == []  # one that has passed
        assert await driver.wait(-NEVER) == []


async def test_wake_ends_the_present_wait() -> None:
    with port() as receiver:
        driver = Driver(receiver)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _wait() -> None:
                with trio.fail_after(5):
                    assert await driver.wait(NEVER) == []

            await trio.testing.wait_all_tasks_blocked()
            driver.wake()


async def test_wake_before_the_wait_is_not_lost_and_counts_once() -> None:
    with port() as receiver:
        driver = Driver(receiver)
        driver.wake()
        driver.wake()
        with trio.fail_after(5):
            assert await driver.wait(NEVER) == []
        with trio.move_on_after(0) as scope:
            await driver.wait(NEVER)
        assert scope.cancelled_caught


async def test_wake_after_a_wait_that_traffic_ended_is_not_lost() -> None:
    with port() as receiver, port() as sender:
        driver = Driver(receiver)
        sender.send([(receiver.address, [b"x"])])
        driver.wake()
        with trio.fail_after(5):
            assert len(await driver.wait(NEVER)) == 1
            assert await driver.wait(NEVER) == []


async def test_a_lingering_driver_still_keeps_deadlines_and_wakes() -> None:
    with port() as receiver, port() as sender:
        driver = Driver(receiver, linger=0.001)
        for _ in range(3):
            sender.send([(receiver.address, [b"x"])])
            with trio.fail_after(5):
                assert len(await driver.wait(NEVER)) == 1
                assert await driver.wait(trio.current_time() + 0.01) == []
                driver.wake()
                assert await driver.wait(NEVER) == []


@lingering
async def test_a_flood_lets_other_tasks_run(linger: float) -> None:
    with port(gro=False, reads=1) as receiver, port() as sender:
        driver = Driver(receiver, linger=linger)
        turns_seen: list[int] = []
        turns = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _other() -> None:
                while True:
                    turns_seen.append(turns)
                    await trio.lowlevel.checkpoint()

            with trio.fail_after(5):
                while len(set(turns_seen)) < 5:
                    sender.send([(receiver.address, [b"x"])])
                    assert len(await driver.wait(NEVER)) == 1
                    turns += 1
            nursery.cancel_scope.cancel()


@lingering
async def test_a_cancelled_wait_loses_nothing_that_was_read(linger: float) -> None:
    with port(gro=False, reads=1) as receiver, port() as sender:
        driver = Driver(receiver, linger=linger)
        sent: list[bytes] = []
        found: list[bytes] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            while True:
                sent.append(b"%d" % len(sent))
                sender.send([(receiver.address, [sent[-1]])])
                found += [bytes(data) for data, _, _ in await driver.wait(NEVER)]
        assert scope.cancelled_caught
        assert found
        while len(found) < len(sent):
            found += [data for data, _ in datagrams(receiver)]
        assert found == sent


def test_the_socket_may_be_made_by_somebody_else() -> None:
    made: list[socket.socket] = []

    def make(family: int, kind: int) -> socket.socket:
        made.append(socket.socket(family, kind))
        return made[-1]

    port = UdpPort.bind(("127.0.0.1", 0), make_socket=make)
    assert [port.fileno()] == [sock.fileno() for sock in made]
    port.close()


@pytest.mark.parametrize(("may_fragment", "discovery"), [(True, IP_PMTUDISC_DONT), (False, 1)])
def test_what_routers_may_cut_has_no_df_bit(may_fragment: bool, discovery: int) -> None:
    made = []

    def make(family: int, kind: int) -> socket.socket:
        made.append(socket.socket(family, kind))
        return made[0]

    with closing(UdpPort.bind(("127.0.0.1", 0), may_fragment=may_fragment, make_socket=make)):
        assert made[0].getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == discovery
