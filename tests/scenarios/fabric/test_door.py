"""One port in front of two sockets: everybody is answered by the one that they can reach."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Network

import pytest

from edge.errors import Refused
from edge.io import dialled
from edge.io.udp import UdpPort
from scenarios.fabric.door import Door, TwoDoors

INSIDE = IPv4Network("127.0.0.0/28")


@pytest.fixture
def doors() -> Iterator[TwoDoors]:
    door = Door(("127.0.0.1", 0))
    made = TwoDoors(UdpPort.bind(("127.0.0.1", 0)), door.port(), INSIDE)
    made.outdoors = door.address  # type: ignore[attr-defined]
    yield made
    made.close()
    door.close()


@pytest.mark.parametrize(("host", "inside"), [("127.0.0.2", True), ("127.0.0.77", False)])
def test_answers_leave_by_the_side_on_which_the_address_is(doors: TwoDoors, host: str, inside: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        peer.settimeout(5)
        to = doors.address if inside else doors.outdoors  # type: ignore[attr-defined]
        peer.sendto(b"hello", to)
        assert doors.poll(5)
        ((data, size, source),) = doors.receive()
        assert (bytes(data), size, source) == (b"hello", 5, peer.getsockname())
        doors.send([(source, [b"one", b"two"])])
        assert [peer.recvfrom(100) for _ in range(2)] == [(b"one", to), (b"two", to)]


def test_both_sides_in_one_batch(doors: TwoDoors) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.3", 0))
        far.bind(("127.0.0.99", 0))
        doors.send(
            [
                (each.getsockname(), [name])
                for each, name in ((near, b"near"), (far, b"far"), (near, b"again"))
            ]
        )
        for each, expected in ((near, [b"near", b"again"]), (far, [b"far"])):
            each.settimeout(5)
            assert [each.recv(100) for _ in expected] == expected
    assert not doors.drops


def test_a_door_outlives_the_processes_of_the_pop() -> None:
    door = Door(("127.0.0.1", 0))
    first = door.port()
    first.close()
    second = door.port()
    assert second.address == door.address == first.address
    second.close()
    with pytest.raises(Refused, match=r"taken by another process\n    fix: "):
        Door(door.address)
    door.close()
    Door(door.address).close()


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="Linux only")
def test_a_door_on_all_addresses_answers_from_the_one_that_was_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dialled, "ask", lambda sock, make_socket: dialled.tell(sock))  # several addresses
    door = Door(("0.0.0.0", 0))
    with closing(door), closing(door.port()) as port, socket.socket(type=socket.SOCK_DGRAM) as phone:
        phone.settimeout(5)
        phone.bind(("127.0.0.1", 0))
        phone.sendto(b"?", ("127.0.0.2", door.address[1]))
        ((_, _, source),) = port.receive()
        port.send([(source, [b"!"])])
        assert phone.recvfrom(9) == (b"!", ("127.0.0.2", door.address[1]))
