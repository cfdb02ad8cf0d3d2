"""The whole of it on real TCP: ports, TLS, HTTP/2, and datagrams there and back."""

from __future__ import annotations

import os

import trio

from edge.io.http2 import Http2Client, Http2Server
from edge.io.streams import StreamDial, StreamPort
from edge.proto.masque.carrier import CarrierReady, DataReceived, RequestReceived, ResponseReceived
from edge.proto.types import Octets, Opened, Written
from tests.edge.io.http2.pair import EXTENDED, OK, client_settings, server_settings

PACKETS = [n.to_bytes(2) * 600 for n in range(1000)]


class Woken:
    """What a task waits on that must not miss a word."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self, until: float) -> None:
        with trio.move_on_at(until):
            await self._event.wait()
        self._event = trio.Event()


async def serve(port: StreamPort, woken: Woken) -> None:
    """Sends back every capsule."""
    server = Http2Server(server_settings(), now=trio.current_time(), rng=os.urandom)
    while True:
        now = trio.current_time()
        for event in port.receive():
            if isinstance(event, Opened):
                assert server.accept(event.connection_id, event.peer, now)
            elif isinstance(event, Written):
                server.written(event.connection_id, event.octets)
            else:
                server.receive(event.connection_id, event.data if isinstance(event, Octets) else b"", now)
        server.handle_timeout(now)
        for told in server.poll_events():
            if isinstance(told, RequestReceived):
                told.carrier.respond(told.stream, OK)
            elif isinstance(told, DataReceived):
                told.carrier.send_data(told.stream, told.data, end=told.ended)
        port.send(server.poll_transmit())
        await woken.wait(server.next_timeout().at)


async def ask(dial: StreamDial, woken: Woken) -> bytes:
    """What comes back of PACKETS, a few of which are under way at a time."""
    client: Http2Client | None = None
    left, got, stream = list(PACKETS), b"", 0
    while True:
        now = trio.current_time()
        for event in dial.receive():
            if isinstance(event, Opened):
                client = Http2Client(client_settings(), peer=event.peer, now=now, rng=os.urandom)
            elif client is not None and isinstance(event, Written):
                client.written(event.octets)
            elif client is not None:
                client.receive(event.data if isinstance(event, Octets) else b"", now)
        if client is not None:
            for told in client.poll_events():
                if isinstance(told, CarrierReady):
                    stream = client.carrier.request(EXTENDED)
                elif isinstance(told, ResponseReceived | DataReceived):
                    got += told.data if isinstance(told, DataReceived) else b""
                    if not left and len(got) == 1203 * len(PACKETS):
                        client.carrier.close(0)
                    if len(got) >= 1203 * (len(PACKETS) - len(left)):
                        client.carrier.send_datagrams(stream, left[:20])
                        del left[:20]
            dial.send([(1, client.poll_transmit(), client.closed)])
            if client.closed:
                return got
        await woken.wait(trio.current_time() + 1)


async def test_a_thousand_datagrams_there_and_back():
    port = StreamPort.bind(("127.0.0.1", 0))
    dial = StreamDial(port.address)
    here, there = Woken(), Woken()
    got = b""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(port.serve, there.wake)
            nursery.start_soon(serve, port, there)
            await nursery.start(dial.serve, here.wake)
            got = await ask(dial, here)
            nursery.cancel_scope.cancel()
    assert [got[at + 3 : at + 1203] for at in range(0, len(got), 1203)] == PACKETS
