"""UDP and TCP of one number for MASQUE: both, or a refusal that leaves nothing open."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
import trio

from edge.config import EdgeConfig, MasqueConfig, VnetConfig
from edge.errors import Refused
from edge.io.streams import StreamPort
from edge.server.relay import Relay
from edge.state import MemoryStore
from scenarios.certificate import Certificate

CERTIFICATE = Certificate(bytes(range(32)))
MASQUE = MasqueConfig(("127.0.0.1", 0), CERTIFICATE.pem, CERTIFICATE.private_pem)
CONFIG = EdgeConfig("pop", ("127.0.0.1", 0), bytes(range(32)), {"lab": VnetConfig("lab")}, masque=MASQUE)


def taken(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


async def test_a_number_whose_tcp_is_taken_is_not_chosen(monkeypatch) -> None:
    refused = []
    bind = StreamPort.bind

    def first_taken(address, **options):
        if not refused:
            refused.append(address[1])
            raise Refused("taken")
        return bind(address, **options)

    monkeypatch.setattr(StreamPort, "bind", first_taken)
    async with trio.open_nursery() as nursery:
        relay = Relay(CONFIG, MemoryStore())
        await nursery.start(relay.run)
        assert relay.masque_address is not None and relay.masque_address[1] != refused[0]
        assert taken(relay.masque_address[1], socket.SOCK_STREAM)
        assert not taken(refused[0], socket.SOCK_DGRAM)
        nursery.cancel_scope.cancel()


async def test_a_given_number_whose_tcp_is_taken_is_refused_and_udp_is_let_go() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        config = replace(CONFIG, masque=replace(MASQUE, listen=("127.0.0.1", port)))
        with pytest.raises(Refused, match=f"tcp 127.0.0.1:{port}: (.|\n)*in `listen.masque`"):
            await Relay(config, MemoryStore()).run()
        assert not taken(port, socket.SOCK_DGRAM)
