"""Our client at Xray's CONNECT-IP server, over HTTP/3 and HTTP/2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from connectors.client import Client
from connectors.proto import ChoosingEnd
from connectors.proto.masque_way import Http2Way, QuicWay
from connectors.ways import MasqueTarget
from edge.proto.masque.client import ClientSession, SessionState
from edge.proto.masque.route import AddressRange
from tests.edge.io.http2.identities import SERVER_NAME, authority, server
from tests.edge.server.lab import Host
from tests.interop.enrolled import free_port
from tests.interop.mirror import Mirror
from tests.interop.namespaces import Place, Process
from tests.interop.xray_proxy import HERE, PATIENCE, listening, start_xray, until

pytestmark = pytest.mark.interop

POOL, POOL6 = "10.77.0.1/24", "fd00:77::1/64"
OUTSIDE = "192.0.2.9"  # nobody: all that leaves Xray is led to an echo on this machine
PATH = "/.well-known/masque/ip/{target}/{ipproto}/"
PASSWORD = "correct horse"
SIZES = (10, 100, 1252)


class XrayServer:
    """Takes Alice and Bob. `echo` is where Xray sends whatever leaves its tunnels."""

    def __init__(self, place: Place, log: Path, http: str, echo: tuple[str, int]) -> None:
        self.address = (HERE, free_port())
        self._udp = http == "h3"
        identity = server()
        certificate = {
            "certificate": identity.certificate.decode().splitlines(),
            "key": identity.private_key.decode().splitlines(),
        }
        inbound = {
            "listen": HERE,
            "port": self.address[1],
            "protocol": "masque",
            "settings": {
                "users": [{"email": name, "pass": PASSWORD} for name in ("alice", "bob")],
                "address": [POOL, POOL6],
            },
            "streamSettings": {
                "network": "masque",
                "method": "masque",
                "masqueSettings": {"path": PATH},
                "security": "tls",
                "tlsSettings": {"alpn": [http], "certificates": [certificate]},
            },
        }
        # A door that nobody enters: Xray listens on TCP for it when everything before it is ready.
        self._door = (HERE, free_port())
        door = {"listen": HERE, "port": self._door[1], "protocol": "socks"}
        outbound = {"protocol": "freedom", "settings": {"redirect": f"{echo[0]}:{echo[1]}"}}
        document = {"log": {"loglevel": "info"}, "inbounds": [inbound, door], "outbounds": [outbound]}
        self.process: Process = start_xray(place, log, document)

    async def ready(self) -> None:
        await listening(self.process, self._door)

    def client(self, name: str, side: Host | Mirror, password: str = PASSWORD) -> Client:
        target = MasqueTarget(
            self.address, SERVER_NAME, ca=authority()[1], user=name, token=password.encode(), path=PATH
        )
        return Client(name, bytes(32), bytes(32), self.address, side, tunnel="masque", masque=target)


def sessions(client: Client) -> list[ClientSession]:
    """The present and the previous one of each way."""
    end = client.core
    assert isinstance(end, ChoosingEnd)
    ways = [way for way in end.ways if isinstance(way, QuicWay | Http2Way)]
    return [each for way in ways for each in (way.session, way.previous) if each is not None]


async def echo_here(*, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((HERE, 0))
        task_status.started(sock.getsockname())
        while True:
            data, source = await sock.recvfrom(65535)
            await sock.sendto(data, source)


@pytest.fixture(scope="module", autouse=True)
def _xray() -> None:
    pytest.importorskip("xray", reason="pip install --require-hashes -r tests/interop/requirements.txt")


@pytest.fixture
def place() -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield Place("here", stack)


@pytest.fixture(params=["h3", "h2"])
def http(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_addresses_routes_and_packets(place: Place, tmp_path: Path, http: str) -> None:
    async with trio.open_nursery() as nursery:
        echo = await nursery.start(echo_here)
        xray = XrayServer(place, tmp_path / "xray.log", http, echo)
        await xray.ready()
        host, mirror = Host(""), Mirror()
        alice, bob = xray.client("alice", host), xray.client("bob", mirror)
        host.endpoint = alice
        addresses = []
        for client in (alice, bob):
            await nursery.start(client.run)
            with trio.fail_after(PATIENCE):
                await client.wait_up()
            assert isinstance(client.core, ChoosingEnd)
            await until(lambda client=client: client.core.way == http, f"{http} to carry packets")
            session = next(each for each in sessions(client) if each.state is SessionState.UP)
            await until(lambda session=session: session.routes, "routes")
            assigned = {len(each.prefix[0]): each.prefix for each in session.assigned}
            assert {size: length for size, (_, length) in assigned.items()} == {4: 32, 16: 128}
            assert session.routes == [
                AddressRange(bytes(4), b"\xff" * 4),
                AddressRange(bytes(16), b"\xff" * 16),
            ]
            addresses.append([str(ip_address(assigned[size][0])) for size in (4, 16)])
        assert addresses == [["10.77.0.2", "fd00:77::2"], ["10.77.0.3", "fd00:77::3"]]

        payloads = [bytes([size % 256]) * size for size in SIZES]
        for source, target in (
            (addresses[0][0], OUTSIDE),  # through Xray's own IP stack, and out
            (addresses[0][0], addresses[1][0]),  # from tunnel to tunnel
            (addresses[0][1], addresses[1][1]),
        ):
            for payload in payloads if ":" not in source else payloads[:2]:
                host.send(target, payload, source=source)
                await host.receives(payload)
        assert set(mirror.sources) == set(addresses[0])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("carol", PASSWORD)])
async def test_who_is_not_known_is_told_so(
    place: Place, tmp_path: Path, http: str, name: str, password: str
) -> None:
    async with trio.open_nursery() as nursery:
        xray = XrayServer(place, tmp_path / "xray.log", http, (HERE, 9))
        await xray.ready()
        client = xray.client(name, Host(""), password)

        def refused() -> bool:
            return any(each.state is SessionState.REFUSED for each in sessions(client))

        await nursery.start(client.run)
        await until(refused, f"a refusal: {xray.process.output()}")
        assert [each.status for each in sessions(client) if each.state is SessionState.REFUSED] == [401]
        assert not client.up
        nursery.cancel_scope.cancel()
    assert "authentication failed" in xray.process.output()
