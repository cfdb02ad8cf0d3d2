"""Hosts of ours and real ones at the cards of kernels."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing

from edge.proto.ip import build_icmp_echo, build_udp, checksum, parse_untrusted, too_big
from edge.proto.types import NEVER
from scenarios.fabric.netns.cards import Card, Cards
from scenarios.fabric.netns.site import SiteLan
from scenarios.fabric.netns.wiring import ETHERNET, Machine
from scenarios.proto.app import Endpoint
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger, Offence
from scenarios.proto.ping import Ping
from scenarios.proto.real_host import RealHost
from scenarios.proto.udp_echo import UdpEcho, UdpProbe
from tests.scenarios.fabric.netns.needs import needs
from tests.scenarios.fabric.netns.offices import HOSTS, HOSTS6, family_of, office, open_socket
from tests.scenarios.proto.tcp_world import Peer

pytestmark = needs()

PATIENCE = 20.0


class Desks:
    """Two hosts of a site at their cards."""

    def __init__(self, lan: SiteLan, *, real: tuple[str, ...] = ()) -> None:
        self.lan = lan
        self.ledger = Ledger()
        self.cards = Cards()
        self._app: UdpProbe | None = None
        self.ledger.unseen = self.cards.unseen
        self.pbx, self.desk = (self._host(name, real) for name in ("pbx", "desk"))

    def _host(self, name: str, real: tuple[str, ...]) -> Host:
        machine = self.machine(name)
        planned = self.lan.plan.by_name[f"hq/{name}"]
        address = str(planned.addresses[0]).partition("/")[0]
        if name in real:
            host: Host = RealHost(f"hq/{name}", address, vnet="acme", ledger=self.ledger)
        else:
            host = Host(f"hq/{name}", address, vnet="acme", ledger=self.ledger, rng=Random(name))
            machine.silence(ETHERNET)
        card = Card(host, machine.space, ETHERNET, mtu=host.mtu, neighbours=self.lan.ordinary)
        card.plug_in()
        self.cards.add(card)
        return host

    def machine(self, name: str) -> Machine:
        return self.lan.machines[f"hq/{name}"]

    @property
    def lawful(self) -> bool:
        return not any(self.ledger.offences.values()) and not any(self.ledger.unjudged.values())

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                await trio.sleep(0.005)

    async def probe(self, target: str, *, port: int = 7, size: int = 100, count: int = 3) -> int:
        """Answers that `desk` gets from a UDP port."""
        if self._app is None:
            self._app = UdpProbe()
            self.desk.add(self._app)
        run = self._app.start(
            (target, port), bytes(size), count=count, interval=0.01, patience=1.0, now=trio.current_time()
        )
        self.cards.touch(self.desk)
        await self.until(lambda: run.ended)
        return run.received


@asynccontextmanager
async def desks(hosts: str = HOSTS, *, real: tuple[str, ...] = ()) -> AsyncIterator[Desks]:
    with office(hosts) as lan:
        desks = Desks(lan, real=real)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(desks.cards.run)
                yield desks
                nursery.cancel_scope.cancel()
        finally:
            desks.cards.close()


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS6])
async def test_hosts_of_ours_talk_and_ping(hosts: str) -> None:
    async with desks(hosts) as office:
        office.pbx.add(UdpEcho())
        assert await office.probe(office.pbx.address) == 3
        ping = Ping()
        office.desk.add(ping)
        run = ping.start(
            office.pbx.address, b"hello", count=2, interval=0.01, patience=1.0, now=trio.current_time()
        )
        office.cards.touch(office.desk)
        await office.until(lambda: run.ended)
        assert run.received == 2
        assert list(office.pbx.seen) == [office.desk.address]
        assert office.lawful


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS6])
async def test_a_closed_port_is_answered_by_the_host_and_not_by_its_kernel(hosts: str) -> None:
    async with desks(hosts) as office:
        assert await office.probe(office.pbx.address, port=9, count=1) == 0
        assert office.pbx.counters["port_unreachable"] == 1
        assert [error.about for error in office.desk.icmp_errors] == [_target(office.pbx.address, 9)]


async def test_a_kernel_that_hears_what_a_path_takes_leaves_that_to_its_host() -> None:
    async with desks(HOSTS6) as office:
        office.pbx.add(UdpEcho())
        asked = build_icmp_echo(
            office.desk.packed, office.pbx.packed, ident=1, sequence=1, payload=bytes(1400)
        )
        told = too_big(asked, parse_untrusted(asked), office.pbx.packed, 1280)
        assert told is not None
        office.pbx.send_packet(told, trio.current_time())
        office.cards.touch(office.pbx)
        await office.until(lambda: office.desk.counters["received"])
        assert await office.probe(office.pbx.address, size=1400) == 3


def _target(address: str, port: int) -> str:
    return f"{address}:{port}"


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS6])
async def test_streams_of_ours_cross(hosts: str) -> None:
    async with desks(hosts) as office:
        server, client = Peer(answer=b"fine" * 50_000), Peer()
        office.pbx.add_stream(server)
        office.desk.add_stream(client)
        assert server.tcp is not None
        server.tcp.listen(80, server)
        stream = client.connect((office.pbx.address, 80), b"hello" * 50_000, trio.current_time())
        office.cards.touch(office.desk)
        await office.until(lambda: len(stream.received) == 200_000)
        assert bytes(server.streams[0].received) == b"hello" * 50_000
        assert office.lawful


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS6])
@pytest.mark.parametrize("real", [("pbx",), ("desk",), ("pbx", "desk")])
async def test_programs_and_hosts_of_ours_understand_each_other(hosts: str, real: tuple[str, ...]) -> None:
    """UDP both ways; what is real is in the books like the rest."""
    async with desks(hosts, real=real) as office:
        address = office.pbx.address
        if "pbx" not in real:
            office.pbx.add(UdpEcho())
        server = open_socket(office.machine("pbx"), family_of(address)) if "pbx" in real else None
        async with trio.open_nursery() as nursery:
            if server is not None:
                await server.bind((address, 7))
                nursery.start_soon(_echo, server)
            if "desk" in real:
                client = open_socket(office.machine("desk"), family_of(address))
                await client.bind((office.desk.address, 0))
                with trio.fail_after(PATIENCE):
                    for number in range(50):
                        await client.sendto(b"%d" % number * 200, (address, 7))
                        assert await client.recv(2000) == b"%d" % number * 200
                client.close()
            else:
                assert await office.probe(address, count=50) == 50
            nursery.cancel_scope.cancel()
        if server is not None:
            server.close()
        await office.until(lambda: office.desk.seen[address].packets == 50)
        assert office.pbx.seen[office.desk.address].packets == 50
        assert office.ledger.sent_packets == office.ledger.received_packets == 100
        assert office.lawful


async def _echo(sock: trio.socket.SocketType) -> None:
    while True:
        data, source = await sock.recvfrom(65536)
        await sock.sendto(data, source)


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS6])
async def test_a_program_streams_to_a_host_of_ours(hosts: str) -> None:
    async with desks(hosts, real=("desk",)) as office:
        server = Peer(answer=b"fine" * 50_000)
        office.pbx.add_stream(server)
        assert server.tcp is not None
        server.tcp.listen(80, server)
        client = open_socket(office.machine("desk"), family_of(office.pbx.address), socket.SOCK_STREAM)
        received = b""
        with trio.fail_after(PATIENCE):
            await client.connect((office.pbx.address, 80))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.SocketStream(client).send_all, b"hello" * 50_000)
                while len(received) < 200_000:
                    received += await client.recv(65536)
        await office.until(lambda: len(server.streams[0].received) == 250_000)
        client.close()
        assert bytes(server.streams[0].received) == b"hello" * 50_000
        assert office.lawful


async def test_a_burst_of_a_program_to_several_is_in_the_books_before_it_is_judged() -> None:
    """Far more at once than one turn reads of a card: first to one that nobody watches, then to another."""
    async with desks(real=("desk",)) as office:
        office.pbx.add(UdpEcho())
        client = open_socket(office.machine("desk"), socket.AF_INET)
        for number in range(3000):
            await client.sendto(b"%d" % number, ("10.0.50.1", 9))
        for number in range(100):
            await client.sendto(b"%d" % number, ("10.0.50.60", 7))
        await office.until(lambda: office.desk.counters["sent"] >= 3100)
        await office.until(lambda: office.pbx.counters["received"] == 100)
        client.close()
        assert office.lawful


async def test_what_the_kernel_could_not_show_us_is_no_offence() -> None:
    async with desks(real=("desk",)) as office:
        card = office.cards.of(office.desk)
        with socket.socket(fileno=os.dup(card.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        office.pbx.add(UdpEcho())
        client = open_socket(office.machine("desk"), socket.AF_INET)
        with socket.socket(fileno=os.dup(client.fileno())) as same:
            for number in range(200):  # no task of ours runs between them
                same.sendto(b"%d" % number, ("10.0.50.60", 7))
        await office.until(lambda: office.pbx.counters["received"] >= 200)
        client.close()
        assert office.cards.unseen("acme") > 0
        assert office.cards.unseen("umbrella") == 0
        assert not any(office.ledger.offences.values())
        assert office.ledger.unjudged[Offence.FORGED] > 0


async def test_what_nobody_sent_is_an_offence() -> None:
    async with desks() as office:
        packet = build_udp(office.desk.packed, office.pbx.packed, 5060, 7, b"never sent")
        sender = open_socket(office.machine("desk"), socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        await sender.sendto(packet, (office.pbx.address, 0))
        await office.until(lambda: office.ledger.offences[Offence.FORGED])
        sender.close()


@pytest.mark.parametrize("real", [(), ("pbx",)])
async def test_a_host_that_another_takes_for_a_router_drops_it_and_no_law_is_broken(
    real: tuple[str, ...],
) -> None:
    hosts = "hosts: {pbx: {ip: 10.0.50.60}, desk: {ip: 10.0.50.61, gateway: 10.0.50.60}}"
    async with desks(hosts, real=real) as office:
        assert await office.probe("100.96.0.12", count=1) == 0
        assert office.pbx.counters["not_a_router"] == 1
        assert office.pbx.counters["received"] == office.pbx.counters["misdelivered"] == 0
        assert office.lawful


async def test_what_a_connector_brings_to_the_wrong_host_is_misdelivered() -> None:
    async with desks() as office:
        connector = office.lan.machines["hq"]
        connector.route("10.0.50.99/32", via="10.0.50.60", interface=ETHERNET)
        with open_socket(connector, socket.AF_INET) as sock:
            await sock.sendto(b"for another", ("10.0.50.99", 9))
            await office.until(lambda: office.pbx.counters["misdelivered"])
        assert office.ledger.offences[Offence.MISDELIVERED] == 1


async def test_large_datagrams_of_ours_are_cut_and_those_that_must_not_be_are_refused() -> None:
    async with desks(real=("pbx",)) as office:
        server = open_socket(office.machine("pbx"), socket.AF_INET)
        await server.bind((office.pbx.address, 7))
        card = office.cards.of(office.desk)
        packet = build_udp(office.desk.packed, office.pbx.packed, 50000, 7, bytes(4000))
        packet[4:6] = b"\1\2"  # else the kernel gives each fragment another
        packet[6] &= ~0x40
        _mend(packet)
        card.send([bytearray(packet)])
        with trio.fail_after(PATIENCE):
            assert await server.recv(5000) == bytes(4000)
        packet[6] |= 0x40
        _mend(packet)
        card.send([packet])
        server.close()
        assert (card.refused, office.desk.counters["too_big"]) == (1, 1)


def _mend(packet: bytearray) -> None:
    """The header checksum."""
    packet[10:12] = bytes(2)
    packet[10:12] = checksum(packet[:20]).to_bytes(2, "big")


async def test_an_interface_that_vanishes_and_comes_back() -> None:
    async with desks() as office:
        office.pbx.add(UdpEcho())
        machine, card = office.machine("pbx"), office.cards.of(office.pbx)
        assert await office.probe(office.pbx.address, count=1) == 1
        _ip(machine, "link", "delete", ETHERNET)
        assert await office.probe(office.pbx.address, count=1) == 0
        card.send([build_udp(office.pbx.packed, office.desk.packed, 7, 7, b"no way")])
        assert office.pbx.counters["refused_by_kernel"] == 1
        with pytest.raises(OSError, match="No such device"):
            card.plug_in()
        office.lan.switch.plug(machine, "again")
        machine.address(ETHERNET, "10.0.50.60/24")
        card.plug_in()
        _ip(office.machine("desk"), "neigh", "flush", "all")  # the new card has another address
        assert await office.probe(office.pbx.address, count=1) == 1
        assert office.lawful


def _ip(machine: Machine, *argv: str) -> None:
    with machine.space.inside():
        subprocess.run(["ip", *argv], check=True)


async def test_deadlines_come_when_nothing_else_does() -> None:
    async with desks() as office:
        began = trio.current_time()
        assert await office.probe(office.pbx.address, port=7, count=1) == 0
        assert trio.current_time() - began >= 1.0


async def test_deadlines_come_though_somebody_else_has_taken_what_set_them() -> None:
    class Alarm(UdpEcho):
        at = NEVER

        def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
            self.at = now + 60.0

        def poll_timeout(self) -> float:
            return self.at

    async with desks(real=("pbx",)) as office:
        alarm = Alarm()
        office.desk.add(alarm)
        await trio.testing.wait_all_tasks_blocked()
        with office.machine("pbx").space.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"wake up", ("10.0.50.61", 7))
        select.select([office.cards.of(office.desk)], [], [], PATIENCE)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 60.0
        office.cards.catch_up(trio.current_time())
        assert alarm.at != NEVER
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline <= 60.0


async def test_closing_closes_every_file() -> None:
    before = os.listdir("/proc/self/fd")
    with office() as lan:
        Desks(lan, real=("desk",)).cards.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.fixture(autouse=True)
def the_machine_is_as_it_was() -> Iterator[None]:
    before = socket.if_nameindex()
    yield
    assert socket.if_nameindex() == before
