"""Xray's CONNECT-IP client at our PoP: RFC 9484 and the WARP dialect, over HTTP/3 and HTTP/2."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import yaml

from connectors.client import Client
from connectors.ways import MasqueTarget
from tests.interop.enrolled import EnrolledPop, Metrics, free_port
from tests.interop.mirror import Mirror
from tests.interop.namespaces import Place
from tests.interop.socks import Association, associate
from tests.interop.xray_proxy import PATIENCE, XrayProxy, until

pytestmark = pytest.mark.interop

BOB = "100.96.0.2"
#: Of UDP payloads. 1252 fill one packet of 1280 bytes, more come as two fragments.
SIZES = {"standard": (100, 1000, 1252, 1253, 1400), "warp": (10, 1200, 1400)}
ROUNDS = {"standard": 500, "warp": 300}
WHO = {"standard": "alice", "warp": "carol"}
REFUSED = "poplab_masque_refused_requests_total"
SESSIONS = "poplab_masque_sessions_total"


class Bench:
    """A running PoP with clients, and a place on this machine for programs."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, **more: str) -> None:
        self.place = Place("here", stack)
        self._directory = directory
        wireguard, masque = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.pop = EnrolledPop(self.place, directory, wireguard=wireguard, masque=masque, more=more)
        self.bob = yaml.safe_load(self.pop.add_client("bob", "--tunnel", "masque"))
        assert self.bob["addresses"][0] == f"{BOB}/32"
        for_xray = ("--tunnel", "masque", "--for", "xray")
        self.files = {
            "alice": self.pop.add_client("alice", *for_xray),
            "carol": self.pop.add_client("carol", *for_xray, "--dialect", "warp"),
            "mallory": self.pop.add_client("mallory", *for_xray, "--dialect", "warp"),
        }
        # The PoP does not know her any more; her file is as good as the others'.
        self._mallory = self.pop.config.parent / "tunnels.d" / "mallory.yaml"
        self._enrolment = self._mallory.read_text()
        self._mallory.unlink()
        self.pop.start()

    def restore_mallory(self) -> None:
        self._mallory.write_text(self._enrolment)

    @asynccontextmanager
    async def mirror(self) -> AsyncIterator[Mirror]:
        """Our own client, with something behind it that answers."""
        host, _, port = self.bob["server"].rpartition(":")
        target = MasqueTarget(
            (host, int(port)),
            self.bob["server_name"],
            ca=self.bob["certificate_authority"].encode(),
            token=self.bob["token"].encode(),
            path=self.bob["path"],
        )
        side = Mirror()
        client = Client("bob", bytes(32), bytes(32), target.pop, side, tunnel="masque", masque=target)
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            with trio.fail_after(PATIENCE):
                await client.wait_up()
            yield side
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def xray(
        self, name: str, to: str = BOB, **changes: str
    ) -> AsyncIterator[tuple[XrayProxy, Association]]:
        """An Xray, and a UDP socket in front of it that leads to the mirror."""
        log = self._directory / f"{name}-{os.urandom(3).hex()}.log"
        xray = XrayProxy(self.place, log, self.files[name], **changes)
        try:
            await xray.listening()
            async with associate(xray.proxy, (to, 7)) as association:
                yield xray, association
        finally:
            xray.stop()

    async def metrics(self) -> Metrics:
        return await trio.to_thread.run_sync(self.pop.metrics)


@pytest.fixture(scope="module", autouse=True)
def _xray() -> None:
    pytest.importorskip("xray", reason="pip install --require-hashes -r tests/interop/requirements.txt")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        bench = Bench(tmp_path_factory.mktemp("shared"), stack)
        yield bench
        bench.pop.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """One whose log and counters begin with the test."""
    with contextlib.ExitStack() as stack:
        yield Bench(tmp_path, stack)


@pytest.mark.parametrize("http", ["h3", "h2"])
@pytest.mark.parametrize("dialect", ["standard", "warp"])
async def test_datagrams_of_all_sizes_and_hundreds_of_round_trips(
    shared: Bench, dialect: str, http: str
) -> None:
    name = WHO[dialect]
    before = await shared.metrics()
    async with shared.mirror() as mirror, shared.xray(name, alpn=http) as (_, bob):
        await bob.echoed(*map(os.urandom, SIZES[dialect]))
        whole = [size + 28 for size in SIZES[dialect] if size <= 1252]
        assert [size for size in mirror.sizes if size in whole] == whole
        assert mirror.fragments == 2 * (len(SIZES[dialect]) - len(whole))
        assert max(mirror.sizes) <= 1280
        await bob.echoed(*(os.urandom(1000) for _ in range(ROUNDS[dialect])))
        assert len(mirror.sources) == 1, "one true address"
        now = await shared.metrics()
    other = {"h3": "h2", "h2": "h3"}[http]
    assert now("poplab_tunnel_up", tunnel=name) == 1
    assert now("poplab_tunnel_http", tunnel=name, http=http) == 1
    assert now("poplab_tunnel_http", tunnel=name, http=other) == 0
    assert now(SESSIONS, http=http) - before(SESSIONS, http=http) == (2 if http == "h3" else 1)
    assert now(REFUSED) == before(REFUSED) == 0
    assert now("poplab_dropped_packets_total") == now.unaccounted == 0
    (line,) = shared.pop.lines("tunnel-up", f"tunnel={name} ", f"http={http} ")
    assert f"dialect={dialect}" in line


async def test_a_client_that_has_to_prove_its_address(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        bench = Bench(tmp_path, stack, **{"private_key_file: ": "masque: {retry: always}"})
        async with bench.mirror(), bench.xray("alice") as (_, bob):
            await bob.echoed(*map(os.urandom, SIZES["standard"]))
            now = await bench.metrics()
    # Bob's and Alice's. Xray's first flight is two datagrams, and each may be answered: it takes the first answer.
    assert now("poplab_masque_retries_total") >= 2
    assert now("poplab_masque_handshakes_total", http="h3", result="ok") == 2
    assert now(SESSIONS, http="h3") == 2


@pytest.mark.parametrize(("dialect", "http"), [("standard", "h3"), ("warp", "h2")])
async def test_ipv6_inside(tmp_path: Path, dialect: str, http: str) -> None:
    with contextlib.ExitStack() as stack:
        bench = Bench(tmp_path, stack, **{"    mtu: ": "    pool6: fd00:96::/64"})
        (_, six) = bench.bob["addresses"]
        bob = six.partition("/")[0]
        async with bench.mirror() as mirror, bench.xray(WHO[dialect], bob, alpn=http) as (_, by_six):
            await by_six.echoed(*map(os.urandom, (10, 1232)), *(os.urandom(1000) for _ in range(50)))
        assert (mirror.sizes[:2], mirror.fragments) == ([58, 1280], 0)
        assert len(mirror.sources) == 1 and next(iter(mirror.sources)).startswith("fd00:96::")


@pytest.mark.parametrize("http", ["h3", "h2"])
@pytest.mark.parametrize(
    ("name", "change", "status", "told"),
    [
        pytest.param("alice", {"password": "wrong"}, 401, "responded with 401", id="wrong password"),
        pytest.param("mallory", {}, 403, {"h3": "0x131", "h2": "403"}, id="unknown key"),
    ],
)
async def test_who_is_refused_disturbs_nobody(
    bench: Bench, name: str, change: dict[str, str], status: int, told: str | dict[str, str], http: str
) -> None:
    stranger = bench.xray(name, alpn=http, loglevel="info", **change)
    async with bench.mirror() as mirror, bench.xray("carol") as (_, bob), stranger as (xray, vain):
        await bob.echoed(b"before")
        before = await bench.metrics()

        async def ask_in_vain() -> None:
            assert await vain.ask(b"let me in", patience=1.0) is None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_in_vain)
            await bob.echoed(*(os.urandom(100) for _ in range(200)))
        await until(lambda: bench.pop.lines("masque-refused"), "the line about it")
        now = await bench.metrics()
        said = told if isinstance(told, str) else told[http]
        await until(lambda: said in xray.said, f"Xray to say {said}: {xray.said}")
    assert now(REFUSED, status=str(status)) == now(REFUSED) == 1
    (line,) = bench.pop.lines("masque-refused")
    assert f'answers="{status} over {http}"' in line
    assert now("poplab_tunnel_up", tunnel="alice") == 0
    assert now(SESSIONS) == before(SESSIONS) == 2, "nobody had to come again"
    assert now("poplab_tunnel_up", tunnel="carol") == now("poplab_tunnel_up", tunnel="bob") == 1
    assert len(mirror.sizes) == 201


@pytest.mark.parametrize("http", ["h3", "h2"])
async def test_who_was_refused_comes_in_once_it_is_enrolled(bench: Bench, http: str) -> None:
    async with bench.mirror(), bench.xray("mallory", alpn=http) as (_, bob):
        assert await bob.ask(b"let me in", patience=1.0) is None
        bench.restore_mallory()
        await trio.to_thread.run_sync(bench.pop.reload)
        with trio.fail_after(PATIENCE):
            while await bob.ask(b"and now?", patience=0.5) is None:
                pass
    assert bench.pop.lines("tunnel-up", "tunnel=mallory ", f"http={http} ", "dialect=warp ")
