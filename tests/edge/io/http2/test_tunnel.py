"""Two ends of HTTP/2 that honour the protocol."""

from __future__ import annotations

import pytest

from edge.proto.masque.carrier import (
    CarrierClosed,
    CarrierReady,
    DataReceived,
    HttpVersion,
    RequestReceived,
    ResponseReceived,
)
from tests.edge.io.http2.pair import EXTENDED, OK, ORDINARY, Pair


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize("headers", [EXTENDED, ORDINARY], ids=["extended", "ordinary"])
def test_a_request_its_answer_and_capsules_both_ways(headers, piece):
    pair = Pair(piece=piece)
    pair.settle()
    client = pair.client.carrier
    assert pair.client_events == [CarrierReady(client)]
    server = pair.accepted
    assert pair.server_events == [CarrierReady(server)]
    assert (server.version, server.peer, server.server_name) == (
        HttpVersion.H2,
        ("198.51.100.7", 50000),
        "pop.example",
    )

    stream = client.request(headers)
    pair.settle()
    assert pair.server_events[1:] == [RequestReceived(server, stream, headers)]
    server.respond(stream, OK)
    server.send_data(stream, b"\x01\x02hi")
    server.send_datagrams(stream, [b"\0one", b"\0" + b"2" * 100])
    pair.settle()
    assert pair.client_events[1] == ResponseReceived(client, stream, OK)
    received = b"".join(e.data for e in pair.client_events[2:] if isinstance(e, DataReceived))
    assert received == b"\x01\x02hi\x00\x04\0one\x00\x40\x65\0" + b"2" * 100

    client.end(stream)
    pair.settle()
    assert pair.server_events[-1] == DataReceived(server, stream, b"", True)
    server.end(stream)
    pair.settle()
    assert pair.client_events[-1] == DataReceived(client, stream, b"", True)
    client.close(0, "done")
    pair.settle()
    assert (
        pair.server_events[-1] == CarrierClosed(server, True, None, "closed by the peer")
        or pair.server_events[-1].code == 0
    )
    assert len(pair.server) == 0
