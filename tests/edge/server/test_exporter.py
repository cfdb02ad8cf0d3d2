"""The metrics page, asked by raw sockets: what a scraper sees, and what a stranger cannot do."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from edge.errors import Refused
from edge.metrics import Snapshot, TunnelSnapshot, VnetSnapshot
from edge.proto.types import Address, DropReason
from edge.server.exporter import MAX_CONNECTIONS, MAX_REQUEST, REQUEST_DEADLINE, Exporter
from edge.state import MemoryStore
from tests.edge.server.lab import PATIENCE, POP_KEY, client, key, pop, running

SNAPSHOT = Snapshot(
    vnets=(VnetSnapshot("acme", packets_in=10, packets_out=8, drops={DropReason.NO_ROUTE: 2}),),
    tunnels=(TunnelSnapshot("alice", "acme", "client", up=True, endpoint="192.0.2.7:4500"),),
    datagrams_in=12,
    started_at=1.7e9,
)


@asynccontextmanager
async def serving(snapshot=lambda: SNAPSHOT) -> AsyncIterator[Address]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(Exporter(snapshot).run, ("127.0.0.1", 0))
        nursery.cancel_scope.cancel()


async def ask(address: Address, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and everything after them, up to the end of the connection."""
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(request)
            answer = b"".join([chunk async for chunk in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    return int(status.split()[1]), headers, body


def request(method: str = "GET", target: str = "/metrics", *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: pop", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_get_brings_what_prometheus_reads() -> None:
    async with serving() as address:
        status, headers, body = await ask(address, request())
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert int(headers["content-length"]) == len(body)
    values = {
        (s.name, s.labels.get("direction")): s.value
        for family in text_string_to_metric_families(body.decode())
        for s in family.samples
    }
    assert values["poplab_vnet_packets_total", "in"] == 10
    assert values["poplab_datagrams_total", "in"] == 12


async def test_every_scrape_reads_the_counters_anew() -> None:
    count = 0

    def snapshot() -> Snapshot:
        nonlocal count
        count += 1
        return Snapshot(generation=count)

    async with serving(snapshot) as address:
        for n in (1, 2, 3):
            _, _, body = await ask(address, request("GET", "/metrics?x=y"))
            assert f"poplab_config_generation {n}.0".encode() in body


async def test_head_tells_the_length_and_sends_nothing() -> None:
    async with serving() as address:
        _, _, page = await ask(address, request())
        status, headers, body = await ask(address, request("HEAD"))
        assert (status, int(headers["content-length"]), body) == (200, len(page), b"")
        status, _, body = await ask(address, request("HEAD", "/"))
        assert (status, body) == (404, b"")
        assert (await ask(address, request()))[0] == 200, "and the page is still there"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "BREW"])
async def test_other_methods_are_refused(method: str) -> None:
    async with serving() as address:
        status, headers, body = await ask(address, request(method))
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert body


async def test_a_body_that_nobody_reads_does_not_take_the_answer_with_it() -> None:
    body = bytes(200_000)
    async with serving() as address:
        posted = request("POST", "/metrics", f"Content-Length: {len(body)}", body=body)
        assert (await ask(address, posted))[0] == 405


@pytest.mark.parametrize("target", ["/", "/metrics/", "/../metrics", "//metrics", "/%2e%2e/etc/passwd"])
async def test_nothing_else_is_there(target: str) -> None:
    async with serving() as address:
        status, _, body = await ask(address, request("GET", target))
    assert status == 404 and b"/metrics" in body


GARBAGE = {
    "bytes": bytes(range(128, 256)) + b"\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "http 0.9": b"GET /metrics\r\n\r\n",
    "no host": b"GET /metrics HTTP/1.1\r\n\r\n",
    "two lengths": request("POST", "/metrics", "Content-Length: 1", "Content-Length: 2"),
    "bad encoding": request("POST", "/metrics", "Transfer-Encoding: gzip, nonsense"),
    "newline in a header": request("GET", "/metrics", "X: a\x00b"),
    "endless header": b"GET /metrics HTTP/1.1\r\nX: " + b"a" * (2 * MAX_REQUEST),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_gets_an_error_and_ends_only_its_own_connection(garbage: bytes) -> None:
    async with serving() as address:
        status, _, _ = await ask(address, garbage)
        assert 400 <= status < 600
        assert (await ask(address, request()))[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GE", b"GET /metrics HTTP/1.1\r\nHost: x\r\n", request()])
async def test_who_goes_away_early_takes_nothing_along(sent: bytes) -> None:
    async with serving() as address:
        for _ in range(MAX_CONNECTIONS + 1):  # a slot that were not given back would be missed
            stream = await trio.open_tcp_stream(*address)
            await stream.send_all(sent)
            await trio.aclose_forcefully(stream)
            await trio.testing.wait_all_tasks_blocked()
        assert (await ask(address, request()))[0] == 200


async def test_two_requests_on_one_connection_get_one_answer() -> None:
    async with serving() as address:
        status, headers, body = await ask(address, request() + request())
    assert (status, headers["connection"]) == (200, "close")
    assert len(body) == int(headers["content-length"])


async def test_who_says_nothing_loses_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as address, await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\n")
        before = trio.current_time()
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(60):
            assert await stream.receive_some() == b""
        assert trio.current_time() - before <= 2 * REQUEST_DEADLINE


async def test_who_does_not_read_holds_nobody_up() -> None:
    """Far more than the socket buffers take, and the reader takes nothing."""
    huge = Snapshot(
        vnets=tuple(
            VnetSnapshot(f"network-{n:05}", drops=dict.fromkeys(DropReason, 1_000_000)) for n in range(400)
        )
    )
    pages = iter([huge])
    async with serving(lambda: next(pages, SNAPSHOT)) as address:
        with trio.socket.socket() as slow:
            slow.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
            await slow.connect(address)
            await slow.send(request())
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                assert (await ask(address, request()))[0] == 200


async def test_too_many_connections_are_closed_at_once_and_the_slots_come_back() -> None:
    async with serving() as address:
        idle = []
        for _ in range(MAX_CONNECTIONS):
            idle.append(await trio.open_tcp_stream(*address))
            await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE):
            async with await trio.open_tcp_stream(*address) as one_more:
                answer = b""
                with suppress(trio.BrokenResourceError):  # a reset says the same
                    await one_more.send_all(request())
                    answer = await one_more.receive_some()
                assert answer == b""
        for stream in idle:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await ask(address, request()))[0] == 200


async def test_a_port_that_is_taken_is_refused_with_the_remedy() -> None:
    async with serving() as address:
        with pytest.raises(Refused, match="the port is taken") as refused:
            await Exporter(lambda: SNAPSHOT).run(address)
    text = str(refused.value)
    assert f"{address[0]}:{address[1]}" in text and "fix:" in text and "listen.metrics" in text


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Refused, match="metrics 192.0.2.1:9180"):
        await Exporter(lambda: SNAPSHOT).run(("192.0.2.1", 9180))


async def test_no_secret_and_no_address_that_a_peer_chose_is_on_the_page() -> None:
    psk = bytes(range(32))
    config = pop(client("alice", "100.96.0.12"), client("bob", "100.96.0.13", preshared_key=psk))
    async with running(config, MemoryStore()) as lab:
        await lab.client("alice", "100.96.0.12")
        async with serving(lab.relay.snapshot) as address:
            _, _, page = await ask(address, request())
        assert b'poplab_tunnel_up{kind="client",tunnel="alice",vnet="acme"} 1.0' in page
        endpoint = lab.snapshot.tunnel("alice").endpoint
        assert endpoint.encode() not in page
        for secret in (POP_KEY, psk, key("alice")):
            for form in (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode()):
                assert form not in page
        for shown in (repr(config), repr(lab.snapshot), repr(lab.relay)):
            assert repr(psk) not in shown and repr(POP_KEY) not in shown
