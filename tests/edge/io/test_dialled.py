"""Answers leave from the address that was dialled. All of 127.0.0.0/8 is local, so no second machine is needed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from edge.io import dialled, mmsg
from edge.io.dialled import Dialled
from edge.io.udp import UdpPort
from edge.proto.types import DropReason
from tests.edge.io.test_udp import MANY, has_ipv6

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="Linux only")

DIALLED = [
    ("0.0.0.0", "127.0.0.1"),
    ("0.0.0.0", "127.0.0.2"),
    *([("::", "::1"), ("::", "127.0.0.1"), ("::", "127.0.0.2")] if has_ipv6() else []),
]


@pytest.fixture(params=MANY, ids=["one", "many"][: len(MANY)], autouse=True)
def _calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this file twice: with a system call for each datagram, and with one for many."""
    monkeypatch.setattr(mmsg, "available", lambda: request.param)


@contextmanager
def port(listen: str, *, told: bool = True) -> Iterator[UdpPort]:
    """Bound to all addresses, as on a machine that has several."""
    sock = socket.socket(socket.AF_INET6 if ":" in listen else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((listen, 0))
    if told:
        dialled.tell(sock)
    with closing(UdpPort(sock, reads=64)) as opened:
        yield opened


class Client:
    """Takes datagrams from nowhere but where it has connected to: the kernel drops others."""

    def __init__(self, stack: ExitStack, there: UdpPort, address: str) -> None:
        family, here = (socket.AF_INET6, "::1") if ":" in address else (socket.AF_INET, "127.0.0.1")
        self.sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        self.sock.bind((here, 0))
        self.sock.connect((address, there.address[1]))

    def send(self, *datagrams: bytes) -> None:
        for each in datagrams:
            self.sock.send(each)

    def received(self) -> list[bytes]:
        """Over loopback, what was sent is there."""
        found = []
        while True:
            try:
                found.append(self.sock.recv(65536, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return found


@pytest.mark.parametrize(("listen", "address"), DIALLED)
def test_answers_of_every_shape_leave_from_what_was_dialled(listen: str, address: str) -> None:
    with ExitStack() as stack:
        here = stack.enter_context(port(listen))
        client = Client(stack, here, address)
        for _ in range(3):  # heard for the first time; again; and known
            client.send(b"first", b"second")
            reads = here.receive()
            assert [bytes(data) for data, _, _ in reads] == [b"first", b"second"]
            source = reads[0][2]
            answers = [[b"lone"], [b"a" * 200] * 5, [b"another"], [b"last"], [b"b" * 300] * 2 + [b"tail"]]
            here.send([(source, each) for each in answers])
            assert client.received() == [datagram for each in answers for datagram in each]
        assert not here.drops


def test_without_being_told_the_kernel_answers_from_another() -> None:
    """What the others of this file are worth."""
    with ExitStack() as stack:
        here = stack.enter_context(port("0.0.0.0", told=False))
        client = Client(stack, here, "127.0.0.2")
        client.send(b"?")
        ((_, _, source),) = here.receive()
        here.send([(source, [b"!"])])
        assert client.received() == []


def test_each_of_many_in_one_batch_has_its_own() -> None:
    with ExitStack() as stack:
        here = stack.enter_context(port("0.0.0.0"))
        clients = [Client(stack, here, f"127.0.0.{n % 3 + 1}") for n in range(30)]
        for n, client in enumerate(clients):
            client.send(b"%d" % n)
        here.send([(source, [bytes(data)]) for data, _, source in here.receive()])
        assert [client.received() for client in clients] == [[b"%d" % n] for n in range(30)]


def test_whoever_dials_another_address_is_answered_from_there() -> None:
    with ExitStack() as stack:
        here = stack.enter_context(port("0.0.0.0"))
        client = Client(stack, here, "127.0.0.2")
        for address in ("127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.2"):
            client.sock.connect((address, here.address[1]))
            client.send(b"?")
            ((_, _, source),) = here.receive()
            here.send([(source, [b"!"])])
            assert client.received() == [b"!"]


@pytest.mark.parametrize("listen", sorted({listen for listen, _ in DIALLED}))
def test_who_was_never_heard_is_written_to_as_the_route_says(listen: str) -> None:
    with ExitStack() as stack:
        here = stack.enter_context(port(listen))
        client = Client(stack, here, "127.0.0.1")
        prefix = "::ffff:" if ":" in listen else ""
        peer = (f"{prefix}127.0.0.1", client.sock.getsockname()[1])
        here.send([(peer, [b"a"]), (peer, [b"b"]), (peer, [b"c"] * 3)])
        assert client.received() == [b"a", b"b", b"c", b"c", b"c"]
        assert not here.drops


def test_merged_datagrams_are_still_told_apart() -> None:
    with ExitStack() as stack:
        here = stack.enter_context(port("0.0.0.0"))
        if not here.gro:
            pytest.skip("this kernel has no UDP_GRO")
        client = Client(stack, here, "127.0.0.2")
        segments = [(dialled.SOL_UDP, 103, (100).to_bytes(2, "little"))]  # UDP_SEGMENT
        client.sock.sendmsg([b"a" * 250], segments)
        ((data, segment, source),) = here.receive()
        assert (len(data), segment) == (250, 100)
        here.send([(source, [b"!"])])
        assert client.received() == [b"!"]


def test_a_refusal_for_another_reason_is_a_drop_and_spoils_no_other() -> None:
    with ExitStack() as stack:
        here = stack.enter_context(port("0.0.0.0"))
        client = Client(stack, here, "127.0.0.2")
        client.send(b"?")
        ((_, _, source),) = here.receive()
        nowhere = ("127.0.0.1", 0)
        here.send(
            [(nowhere, [b"x"]), (source, [b"a"]), (nowhere, [b"x"] * 3), (source, [b"b"]), (nowhere, [b"x"])]
        )
        assert client.received() == [b"a", b"b"]
        assert here.drops == {DropReason.OTHER: 5}


def test_a_machine_that_does_not_say_how_many_addresses_it_has_is_taken_to_have_several() -> None:
    def make(family: int, kind: int) -> socket.socket:
        if family == socket.AF_NETLINK:
            raise PermissionError
        return socket.socket(family, kind)

    with ExitStack() as stack:
        here = stack.enter_context(closing(UdpPort.bind(("0.0.0.0", 0), is_dialled=True, make_socket=make)))
        client = Client(stack, here, "127.0.0.2")
        client.send(b"?")
        ((_, _, source),) = here.receive()
        here.send([(source, [b"!"])])
        assert client.received() == [b"!"]


# -- who is remembered --

LOCAL, OTHER = bytes([127, 0, 0, 2]), bytes([127, 0, 0, 3])


def pktinfo(local: bytes) -> list[tuple[int, int, bytes]]:
    return [(socket.IPPROTO_IP, dialled.IP_PKTINFO, bytes(4) + local + local)]


def answered_from(known: Dialled, peer: tuple[str, int]) -> bytes:
    return known.ancillary(peer)[2][4:8]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Dialled:
    monkeypatch.setattr(dialled, "HEARD", 8)
    monkeypatch.setattr(dialled, "KNOWN", 8)
    return Dialled(socket.AF_INET)


def strangers(count: int) -> Iterator[tuple[str, int]]:
    return ((f"198.18.{n >> 8}.{n & 255}", 1000) for n in range(count))


@pytest.mark.parametrize("answered", [False, True])
def test_forged_sources_drive_out_nobody_who_talks_whether_answered_or_not(
    known: Dialled, answered: bool
) -> None:
    peer = ("203.0.113.9", 51820)
    for _ in range(2):
        known.came_with(peer, pktinfo(LOCAL))
        assert answered_from(known, peer) == LOCAL
    for stranger in strangers(1000):
        known.came_with(stranger, pktinfo(OTHER))
        if answered:
            assert answered_from(known, stranger) == OTHER
    assert answered_from(known, peer) == LOCAL
    assert sum(answered_from(known, stranger) == OTHER for stranger in strangers(1000)) <= 16


@pytest.mark.parametrize("speaks", ["the peer", "we"])
def test_more_who_talk_than_are_remembered_drive_out_those_who_are_silent(
    known: Dialled, speaks: str
) -> None:
    peer, silent = ("203.0.113.9", 51820), ("203.0.113.10", 51820)
    for each in (peer, silent):
        for _ in range(2):
            known.came_with(each, pktinfo(LOCAL))
            assert answered_from(known, each) == LOCAL
    for stranger in strangers(100):
        for _ in range(2):
            known.came_with(stranger, pktinfo(OTHER))
            known.ancillary(stranger)
        if speaks == "we":
            assert answered_from(known, peer) == LOCAL
        else:
            known.came_with(peer, pktinfo(LOCAL))
    assert answered_from(known, peer) == LOCAL
    assert answered_from(known, silent) == bytes(4)
    assert sum(answered_from(known, stranger) == OTHER for stranger in strangers(100)) <= 32


def test_what_is_forgotten_is_forgotten_wherever_it_was(known: Dialled) -> None:
    peer = ("203.0.113.9", 51820)
    for steps in range(4):
        for _ in range(steps + 1):
            known.came_with(peer, pktinfo(LOCAL))
            assert answered_from(known, peer) == LOCAL
        known.forget(peer)
        assert answered_from(known, peer) == bytes(4)
