"""How connections and streams end, and what time does to them."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes

from edge.io.http2 import Http2Client, Timing
from edge.io.http2.server import HANDSHAKES_PER_TURN
from edge.proto.masque.carrier import (
    CarrierClosed,
    CarrierReady,
    DataReceived,
    RequestReceived,
    StreamAborted,
)
from edge.proto.types import DropReason
from tests.edge.io.http2.pair import EXTENDED, OK, ORDINARY, Pair, client_settings, server_settings
from tests.edge.io.http2.rude import ACK, GOAWAY, PING, PREFACE, RST_STREAM, SETTINGS, Rude, RudeServer, frame


def last(events) -> CarrierClosed:
    assert isinstance(events[-1], CarrierClosed)
    return events[-1]


# -- settings --


def test_clients_are_told_at_once_what_they_wait_for():
    rude = Rude(silent=True)
    kind, _, stream, payload = rude.frames()[0]
    settings = {payload[n : n + 2]: int.from_bytes(payload[n + 2 : n + 6]) for n in range(0, len(payload), 6)}
    assert (kind, stream) == (SETTINGS, 0)
    assert settings[b"\0\x08"] == 1  # ENABLE_CONNECT_PROTOCOL (RFC 8441 section 3)
    assert settings[b"\0\x04"] >= 1 << 20  # INITIAL_WINDOW_SIZE
    assert settings[b"\0\x03"] <= 32  # MAX_CONCURRENT_STREAMS
    assert [k for k, *_ in rude.frames()] == [
        SETTINGS,
        8,
    ]  # WINDOW_UPDATE: no setting raises the connection's


def test_a_server_that_does_not_offer_extended_connect_is_not_asked_for_it():
    server = RudeServer()
    assert server.events == [CarrierReady(server.client.carrier)]
    assert server.client.carrier.request(ORDINARY) == 1
    assert server.client.carrier.request(EXTENDED) == 0
    server.exchange()
    assert "does not offer extended CONNECT" in last(server.events).reason
    assert server.client.closed


def test_a_client_asks_for_nothing_before_the_settings_of_the_server():
    pair = Pair()
    assert pair.client.carrier.request(ORDINARY) == 0
    pair.up()
    assert pair.client.carrier.request(ORDINARY) == 0
    pair.settle()
    assert pair.client.carrier.request(ORDINARY) == 1


# -- streams --


def test_an_answer_that_ends_its_stream():
    pair = Pair()
    pair.settle()
    stream = pair.client.carrier.request(EXTENDED)
    pair.settle()
    pair.accepted.respond(stream, [(b":status", b"403")], end=True)
    pair.accepted.respond(stream, OK)  # too late, ignored
    pair.settle()
    assert pair.client_events[-1].ended
    pair.accepted.send_datagrams(stream, [b"for nobody"])
    assert pair.accepted.queue(stream).drops == {DropReason.TUNNEL_DOWN: 1}
    assert pair.accepted.datagram_room(stream) == 0


def test_a_reset_reaches_the_other_end_and_what_waited_dies():
    pair = Pair()
    stream = pair.tunnel()
    queue = pair.client.carrier.queue(stream)
    pair.client.carrier.send_datagrams(stream, [b"one", b"two"])
    pair.accepted.reset(stream, ErrorCodes.CANCEL)
    for _ in range(2):
        pair.down()
    assert pair.client_events == [StreamAborted(pair.client.carrier, stream, ErrorCodes.CANCEL)]
    assert (len(queue), queue.drops) == (0, {DropReason.TUNNEL_DOWN: 2})
    pair.client.carrier.send_datagrams(stream, [b"three"])  # nobody minds
    pair.client.carrier.send_data(stream, b"four")
    pair.client.carrier.end(stream)
    pair.client.carrier.reset(stream, 0)
    pair.settle()
    assert pair.client.carrier.request(EXTENDED) == stream + 2  # the connection lives


def test_the_end_waits_for_what_was_sent_before():
    pair = Pair()
    stream = pair.tunnel()
    pair.accepted.send_datagrams(stream, [b"last"])
    pair.accepted.end(stream)
    pair.accepted.send_data(stream, b"more")
    pair.accepted.send_datagrams(stream, [b"more"])
    pair.settle()
    assert pair.client_events == [DataReceived(pair.client.carrier, stream, b"\0\4last", True)]


# -- the connection's end --


def test_close_says_why_and_all_is_over():
    pair = Pair()
    stream = pair.tunnel()
    queue = pair.accepted.queue(stream)
    pair.accepted.send_datagrams(stream, [b"x"] * 3)
    pair.accepted.close(ErrorCodes.ENHANCE_YOUR_CALM, "too many refused requests")
    pair.accepted.close(0)
    pair.settle()
    end = last(pair.server_events)
    assert (end.by_peer, end.code, end.reason) == (
        False,
        ErrorCodes.ENHANCE_YOUR_CALM,
        "too many refused requests",
    )
    end = last(pair.client_events)
    assert (end.by_peer, end.code, end.reason) == (
        True,
        ErrorCodes.ENHANCE_YOUR_CALM,
        "too many refused requests",
    )
    assert pair.server_closed and len(pair.server) == 0 and queue.drops == {DropReason.TUNNEL_DOWN: 3}
    assert pair.server.counters.closed == 1 and pair.client.counters.closed_by_peer == 1


def test_close_of_the_transport_is_without_a_word_of_http():
    rude = Rude()
    rude.events[0].carrier.close(0x131, transport=True)
    rude.exchange()
    rude.exchange()
    assert rude.cut and rude.goaway is None and rude.tls.ended
    assert last(rude.events).code == 0x131


def test_a_reason_cannot_forge_a_log_line():
    rude = Rude()
    rude.say(frame(GOAWAY, 0, 0, bytes(4) + (2).to_bytes(4) + b"bad\r\n\x1b[31m" + b"x" * 5000))
    reason = last(rude.events).reason
    assert reason.startswith("bad???[31mxxx") and len(reason) <= 200


@pytest.mark.parametrize("whole", [True, False])
def test_the_connection_ends_under_us(whole):
    pair = Pair()
    if whole:
        pair.tunnel()
    else:
        pair.up()
    pair.server.receive(1, b"", pair.now)
    pair.look()
    assert last(pair.server_events).by_peer
    pair.settle()
    assert pair.server_closed and pair.server.half_open == 0 and pair.server.counters.closed_by_peer == 1


# -- drain --


def test_drained_a_connection_carries_its_streams_to_their_end():
    pair = Pair()
    stream = pair.tunnel()
    pair.server.drain()
    pair.settle()
    assert pair.client.carrier.request(EXTENDED) == 0
    pair.client.carrier.send_data(stream, b"up")
    pair.accepted.send_data(stream, b"down")
    pair.settle()
    assert pair.client_events[-1].data == b"down" and pair.server_events[-1].data == b"up"
    pair.accepted.end(stream)
    pair.client.carrier.end(stream)
    pair.settle()
    assert last(pair.server_events).reason == "drained" and last(pair.client_events).code == 0
    assert pair.server_closed and not pair.server.accept(2, ("198.51.100.7", 1), pair.now)


def test_a_request_that_crosses_the_goaway_is_refused_and_may_be_repeated_elsewhere():
    pair = Pair()
    first = pair.tunnel()
    second = pair.client.carrier.request(EXTENDED)
    pair.server.drain()
    pair.settle()
    assert not any(isinstance(event, RequestReceived) for event in pair.server_events)
    assert StreamAborted(pair.client.carrier, second, ErrorCodes.REFUSED_STREAM) in pair.client_events
    assert first != second


def test_a_request_after_the_goaway_is_refused():
    """Its client did not look; the stream that it has goes on."""
    rude = Rude()
    rude.say(rude.headers(1))
    rude.events[-1].carrier.respond(1, OK)
    rude.server.drain()
    rude.say(rude.headers(3))
    assert (RST_STREAM, 0, 3, ErrorCodes.REFUSED_STREAM.to_bytes(4)) in rude.frames()
    assert not rude.cut


def test_drained_without_streams_is_closed_at_once():
    pair = Pair()
    pair.settle()
    pair.server.drain()
    pair.settle()
    assert pair.server_closed


def test_close_all():
    pair = Pair()
    pair.tunnel()
    pair.server.close_all(reason="stopped")
    pair.settle()
    assert last(pair.client_events).reason == "stopped" and len(pair.server) == 0


def test_a_stream_that_was_ended_ends_cleanly_before_the_connection_does():
    pair = Pair()
    stream = pair.tunnel()
    pair.accepted.end(stream)
    pair.server.close_all()
    pair.settle()
    told = [event for event in pair.client_events if isinstance(event, DataReceived | CarrierClosed)]
    assert isinstance(told[0], DataReceived) and told[0].ended
    assert isinstance(told[-1], CarrierClosed)


# -- time --

TIMING = Timing(handshake=5, keep_alive=10, dead=30, idle=60)


@pytest.mark.parametrize("said", [b"", PREFACE[:10], PREFACE + frame(PING, payload=bytes(8))[:12]])
def test_slow_strangers_are_cut_off(said):
    """However far they have come, and however often they say a little more."""
    rude = Rude(silent=True, server=server_settings(timing=TIMING))
    rude.say(said)
    for _ in range(60):
        rude.now += 0.1
        rude.server.handle_timeout(rude.now)
        rude.exchange()
    assert rude.cut and rude.server.counters.late == 1 and rude.server.half_open == 0


def test_a_client_does_not_wait_for_ever():
    pair = Pair(timing=TIMING)
    pair.now += 5
    pair.client.handle_timeout(pair.now)
    pair.look()
    assert last(pair.client_events).reason == "the handshake took too long"


def test_quiet_connections_live_by_pings():
    pair = Pair(timing=TIMING)
    pair.tunnel()
    pair.run(3600)
    assert pair.server_events == [CarrierReady(pair.accepted)] and not pair.client_events
    assert len(pair.server) == 1


def test_pings_are_few():
    pair = Pair(timing=TIMING)
    pair.tunnel()
    before = pair.to_client
    pair.run(1000)
    assert pair.to_client - before < 2 * 1000 / 10 * 50


def test_a_peer_that_is_gone_is_found_out():
    pair = Pair(timing=TIMING)
    pair.tunnel()
    start = pair.now
    pair.server.poll_transmit()
    for _ in range(10):  # nothing arrives any more
        if not len(pair.server):
            break
        pair.now = pair.server.next_timeout().at
        pair.server.handle_timeout(pair.now)
        pair.server_events += pair.server.poll_events()
        pair.server.poll_transmit()
    assert last(pair.server_events).reason == "no sign of life"
    assert pair.now - start == 30 and pair.server.counters.dead == 1


def test_a_peer_that_talks_and_takes_nothing_is_found_out():
    rude = Rude(server=server_settings(timing=TIMING))
    rude.say(rude.headers(1))
    rude.events[0].carrier.respond(1, OK)
    for _ in range(50):
        rude.now += 1
        rude.tls.send(frame(0, 0, 1, b"talk"))
        rude.server.receive(1, rude.tls.poll(), rude.now)
        rude.server.poll_transmit()  # and nothing of it is ever written
        rude.server.handle_timeout(rude.now)
    assert rude.server.counters.dead == 1


def test_who_asks_for_nothing_is_let_go():
    pair = Pair(timing=TIMING)
    pair.settle()
    pair.run(61)
    assert last(pair.server_events).reason == "idle" and pair.server.counters.idle == 1
    pair = Pair(timing=TIMING)
    stream = pair.tunnel()
    pair.run(100)
    assert len(pair.server) == 1
    pair.accepted.end(stream)
    pair.settle()
    pair.run(61)  # the client never ended its direction
    assert pair.server.counters.idle == 1


def test_a_ping_can_be_asked_for():
    rude = Rude()
    rude.events[0].carrier.ping()
    rude.events[0].carrier.ping()
    rude.exchange()
    assert [kind for kind, flags, *_ in rude.frames() if kind == PING and not flags & ACK] == [PING]


# -- many --


def test_no_more_connections_than_allowed():
    pair = Pair(server=server_settings(max_connections=1))
    assert not pair.server.accept(2, ("198.51.100.8", 1), pair.now)
    assert pair.server.counters.refused == 1
    pair.server.receive(2, b"hello", pair.now)  # ignored
    pair.settle()
    assert len(pair.server) == 1 and pair.client_events == [CarrierReady(pair.client.carrier)]


def test_strangers_cannot_keep_others_out():
    pair = Pair(server=server_settings(max_half_open=8))
    pair.settle()
    for number in range(2, 50):
        assert pair.server.accept(number, ("203.0.113.66", number), pair.now)
    assert pair.server.half_open == 8 and pair.server.counters.evicted == 40
    pair.settle()
    assert len(pair.server) == 1 + 8
    assert last(pair.server_events).reason == "too many handshakes at once"
    assert pair.tunnel()


def test_who_takes_most_places_loses_them_first():
    pair = Pair(server=server_settings(timing=TIMING, max_half_open=8))
    assert pair.server.accept(2, ("198.51.100.1", 1), pair.now)  # honest, slow, and the oldest
    for number in range(3, 50):
        assert pair.server.accept(number, ("203.0.113.66", number), pair.now)
    pair.server.poll_transmit()
    pair.server.receive(2, b"no TLS", pair.now)
    assert pair.server.counters.tls_failed == 1  # it was still there


def test_few_handshakes_are_worked_on_at_once_and_none_is_forgotten():
    pair = Pair(server=server_settings(timing=TIMING))
    pair.settle()
    numbers = range(2, 32)
    for number in numbers:
        assert pair.server.accept(number, ("203.0.113.66", number), pair.now)
    pair.now += 0.001
    for number in numbers:
        client = Http2Client(client_settings(), peer=("192.0.2.1", 443), now=pair.now, rng=bytes)
        pair.server.receive(number, client.poll_transmit(), pair.now)
    answered = []
    while fresh := [number for number, data, _ in pair.server.poll_transmit() if data]:
        answered.append(len(fresh))
        assert pair.server.next_timeout().at <= pair.now or sum(answered) == len(numbers)
        pair.server.handle_timeout(pair.now)
    assert sum(answered) == len(numbers)
    assert max(answered) <= HANDSHAKES_PER_TURN
    assert pair.server.next_timeout().at > pair.now


def test_what_waits_for_a_handshake_is_limited_and_goes_with_it():
    pair = Pair(server=server_settings(timing=TIMING))
    pair.settle()
    for number in range(2, 12):
        pair.server.accept(number, ("203.0.113.66", number), pair.now)
    pair.now += 0.001
    for _ in range(20):
        for number in range(2, 12):
            pair.server.receive(number, b"\x16\3\1\x40\0" + bytes(8000), pair.now)
    assert pair.server.counters.evicted == 10
    pair.server.poll_transmit()
    assert len(pair.server) == 1
    assert pair.server.next_timeout().at > pair.now


def test_the_agenda_does_not_grow_with_connections_that_are_gone():
    pair = Pair(server=server_settings(timing=TIMING))
    pair.settle()
    for number in range(2, 3000):
        pair.server.accept(number, ("203.0.113.66", number), pair.now)
        pair.server.receive(number, b"", pair.now)
        pair.server.poll_transmit()
        pair.server.poll_events()
    assert len(pair.server) == 1
    pair.now += 5
    pair.server.handle_timeout(pair.now)
    assert pair.server.next_timeout().at < pair.now + 30
