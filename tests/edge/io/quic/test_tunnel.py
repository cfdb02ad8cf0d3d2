"""What carries a tunnel: requests, capsules and datagrams, both ways."""

from quic_pair import CONNECT, OK, Pair

from edge.proto.masque.carrier import (
    CarrierClosed,
    CarrierReady,
    DataReceived,
    HttpVersion,
    RequestReceived,
    ResponseReceived,
    StreamAborted,
)


def test_a_request_is_answered():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    assert stream == 0
    assert carrier.version is far.version is HttpVersion.H3
    [asked] = pair.server.seen(RequestReceived)
    assert asked.headers == CONNECT
    [answered] = pair.client.seen(ResponseReceived)
    assert answered.headers == OK
    assert far.server_name == "pop.example"
    assert far.peer == pair.client.address
    assert pair.server.endpoint.counters.handshakes_done == 1
    assert len(pair.server.seen(CarrierReady)) == 1


def test_datagrams_cross_in_order_both_ways():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    there = [bytes([0, n]) * 300 for n in range(20)]
    carrier.send_datagrams(stream, there)
    far.send_datagrams(stream, there[::-1])
    pair.run(1)
    assert pair.server.payloads() == there
    assert pair.client.payloads() == there[::-1]


def test_capsules_cross_and_a_stream_ends_cleanly():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    carrier.send_data(stream, b"capsule")
    far.send_data(stream, b"x" * 50_000)
    pair.run(1)
    assert b"".join(event.data for event in pair.server.seen(DataReceived)) == b"capsule"
    assert b"".join(event.data for event in pair.client.seen(DataReceived)) == b"x" * 50_000
    far.end(stream)
    pair.run(1)
    assert pair.client.seen(DataReceived)[-1].ended
    carrier.end(stream)
    pair.run(1)
    assert pair.server.seen(DataReceived)[-1].ended
    assert carrier.request(CONNECT) == 4
    pair.run(1)
    assert [event.stream for event in pair.server.seen(RequestReceived)] == [0, 4]


def test_a_response_can_be_the_end():
    pair = Pair()
    carrier = pair.connect()
    pair.on_event = lambda side, event: (
        event.carrier.respond(event.stream, [(b":status", b"403")], end=True)
        if isinstance(event, RequestReceived)
        else None
    )
    stream = carrier.request(CONNECT)
    pair.run(1)
    [answered] = pair.client.seen(ResponseReceived)
    assert answered.ended
    assert answered.stream == stream


def test_a_stream_is_reset_in_both_directions():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    far.reset(stream, 0x10C)
    pair.run(1)
    [aborted] = pair.client.seen(StreamAborted)
    assert (aborted.stream, aborted.code) == (stream, 0x10C)
    far.send_data(stream, b"nobody hears it")
    carrier.send_data(stream, b"nobody hears it")
    pair.run(1)
    assert not pair.server.seen(DataReceived)
    assert not pair.client.seen(DataReceived)
    assert pair.server.endpoint.connections == 1


def test_closing_is_heard_with_its_code():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    far.close(0x131, transport=True)
    pair.run(1)
    [heard], [said] = pair.client.seen(CarrierClosed), pair.server.seen(CarrierClosed)
    assert (heard.by_peer, heard.code, heard.transport, heard.reason) == (True, 0x131, True, "")
    assert (said.by_peer, said.code) == (False, 0x131)
    assert pair.server.endpoint.connections == pair.server.endpoint.cids == 0
    assert pair.server.endpoint.next_timeout() == pair.client.endpoint.next_timeout() == float("inf")
    carrier.send_datagrams(stream, [b"late"])
    carrier.ping()
    assert carrier.request(CONNECT) >= 0


def test_an_http_error_code_is_one():
    pair = Pair()
    carrier, _, _ = pair.tunnel()
    carrier.close(0x100, "bye")
    pair.run(1)
    [heard] = pair.server.seen(CarrierClosed)
    assert (heard.by_peer, heard.code, heard.transport, heard.reason) == (True, 0x100, False, "bye")
