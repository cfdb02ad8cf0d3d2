"""Clients that do wrong, or too much of what is right: each loses its own connection, and is counted."""

from __future__ import annotations

import random

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from OpenSSL import SSL

from edge.io.http2 import Counters
from edge.proto.masque.carrier import (
    CarrierClosed,
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamAborted,
)
from tests.edge.io.http2.pair import EXTENDED, OK, ORDINARY, Pair
from tests.edge.io.http2.rude import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Rude,
    RudeServer,
    frame,
)

CALM = ErrorCodes.ENHANCE_YOUR_CALM


def test_the_harness_can_be_polite():
    rude = Rude()
    rude.say(rude.headers(1))
    assert isinstance(rude.events[-1], RequestReceived)
    rude.say(frame(PING, payload=b"12345678"))
    assert (PING, ACK, 0, b"12345678") in rude.frames()
    assert rude.ended is None and not rude.cut


FLOODS = {
    "ping": frame(PING, payload=bytes(8)),
    "settings": frame(SETTINGS),
    "acknowledgments": frame(PING, ACK, payload=bytes(8)),
    "priority": frame(PRIORITY, 0, 3, bytes(5)),
    "unknown": frame(0xEE, 0, 0, b""),
    "empty data": frame(DATA, 0, 1),
    "one octet of data": frame(DATA, 0, 1, b"x"),
    "padding": frame(DATA, PADDED, 1, b"\0"),
    "window updates": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "goaway": frame(GOAWAY, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("one", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_frames_that_carry_nothing(one):
    rude = Rude()
    rude.say(rude.headers(1))
    rude.say(one * 10)
    assert rude.ended is None
    rude.say(one * 20_000)
    assert rude.cut and rude.goaway == CALM and rude.server.counters.flooded == 1
    assert len(rude.got) < 64_000  # it does not answer all of them first
    assert len(rude.server) == 0


def test_the_same_frames_at_an_honest_pace_are_welcome():
    rude = Rude()
    rude.say(rude.headers(1))
    for _ in range(2000):
        rude.now += 0.1
        rude.say(frame(PING, payload=bytes(8)) + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))
    assert rude.ended is None


def test_window_updates_may_come_with_what_they_acknowledge():
    rude = Rude({4: 1 << 30})
    rude.say(rude.headers(1) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4)))
    carrier = rude.events[0].carrier
    carrier.respond(1, OK)
    for _ in range(3000):  # without a moment between them
        carrier.send_datagrams(1, [bytes(1200)])
        rude.exchange()
        rude.say(frame(WINDOW_UPDATE, 0, 0, b"\0\0\4\xb3") + frame(WINDOW_UPDATE, 0, 1, b"\0\0\4\xb3"))
    assert rude.ended is None


def test_tiny_frames_may_come_with_others():
    """As from a client that writes the header of a capsule and the packet one after the other."""
    rude = Rude()
    rude.say(rude.headers(1))
    for _ in range(300):
        rude.say((frame(DATA, 0, 1, b"\0") + frame(DATA, 0, 1, b"\x28") + frame(DATA, 0, 1, bytes(40))) * 20)
    assert rude.ended is None


def test_rapid_reset():
    """CVE-2023-44487: streams that are reset as soon as they are opened."""
    rude = Rude()
    for stream in range(1, 2001, 2):
        rude.say(rude.headers(stream) + frame(RST_STREAM, 0, stream, bytes(4)))
    assert rude.cut and rude.goaway == CALM and rude.server.counters.flooded == 1
    assert sum(isinstance(event, RequestReceived) for event in rude.events) < 40


def test_resets_alone():
    rude = Rude()
    rude.say(rude.headers(1))
    rude.say(frame(RST_STREAM, 0, 1, bytes(4)) * 1000)
    assert rude.cut and rude.goaway == CALM


def test_made_you_reset():
    """CVE-2025-8671: frames that are errors of their stream only, so that the server is the one who resets."""
    rude = Rude()
    rude.say(rude.headers(1) + frame(RST_STREAM, 0, 1, bytes(4)))
    rude.say(frame(DATA, 0, 1, b"x") * 1000)
    resets = sum(kind == RST_STREAM for kind, *_ in rude.frames())
    assert rude.cut and rude.goaway == CALM and resets < 1500
    assert rude.server.counters.flooded == 1


def test_a_header_block_without_end():
    rude = Rude()
    rude.say(frame(HEADERS, 0, 1, b"\0" * 10) + frame(CONTINUATION, 0, 1) * 200)
    assert rude.cut and rude.goaway == CALM


def test_a_header_block_of_a_megabyte():
    rude = Rude()
    rude.say(frame(HEADERS, 0, 1, b"\0" * 16384) + frame(CONTINUATION, 0, 1, b"\0" * 16384) * 5)
    assert rude.cut and rude.goaway == CALM


def test_headers_that_decompress_to_much():
    """HPACK bomb (CVE-2016-6581): one field in the table, named a thousand times."""
    rude = Rude()
    block = rude.encoder.encode([*ORDINARY, (b"x-bomb", b"y" * 3000)])
    rude.say(frame(HEADERS, END_HEADERS, 1, block + b"\xbe" * 8000))
    assert rude.cut and rude.server.counters.malformed == 1
    assert not any(isinstance(event, RequestReceived) for event in rude.events)


def test_headers_that_are_simply_large():
    rude = Rude()
    rude.say(rude.headers(1, [*ORDINARY, (b"x-large", b"a" * 16300)]))
    assert rude.cut and rude.server.counters.malformed == 1


def test_too_many_streams_at_once():
    rude = Rude()
    rude.say(b"".join(rude.headers(stream) for stream in range(1, 33, 2)))
    assert rude.ended is None
    rude.say(rude.headers(33))
    assert rude.cut and rude.server.counters.malformed == 1


def test_a_frame_that_is_too_long_is_refused_before_it_has_come():
    rude = Rude()
    rude.say((1 << 20).to_bytes(3) + bytes((DATA, 0)) + (1).to_bytes(4) + b"some of it")
    assert rude.cut and rude.goaway == ErrorCodes.FRAME_SIZE_ERROR


def test_who_makes_answers_and_takes_none():
    """No window, so what the session answers cannot leave: it is not kept without end."""
    rude = Rude({4: 0})
    rude.say(rude.headers(1))
    carrier = rude.events[0].carrier
    carrier.respond(1, OK)
    for _ in range(1000):
        carrier.send_data(1, bytes(100))
        carrier.send_datagrams(1, [bytes(100)])
    rude.exchange()
    rude.exchange()
    assert rude.events[-1] == StreamAborted(carrier, 1, CALM)
    assert not any(kind == DATA for kind, *_ in rude.frames())
    assert len(carrier.queue(1)) == 0


MALFORMED = {
    "not a preface": b"GET / HTTP/1.1\r\nHost: pop.example\r\n\r\n",
    "no settings first": PREFACE + frame(PING, 0, 1, bytes(8)),
    "settings on a stream": frame(SETTINGS, 0, 1),
    "settings of five octets": frame(SETTINGS, 0, 0, bytes(5)),
    "a window of 2^31": frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
    "extended CONNECT of 2": frame(SETTINGS, 0, 0, b"\0\x08\0\0\0\2"),
    "short ping": frame(PING, 0, 0, bytes(7)),
    "data on no stream": frame(DATA, 0, 0, b"x"),
    "data on a stream that is idle": frame(DATA, 0, 7, b"x"),
    "reset of an idle stream": frame(RST_STREAM, 0, 9, bytes(4)) * 33,
    "even stream": frame(HEADERS, END_HEADERS, 2, b"\x82"),
    "bad padding": frame(DATA, PADDED, 1, b"\x09abc"),
    "no HPACK": frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
    "no method": frame(HEADERS, END_HEADERS, 1, b"\x87\x84"),
    "a lone continuation": frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
    "a zero window update": frame(WINDOW_UPDATE, 0, 0, bytes(4)),
    "window overflow": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "short goaway": frame(GOAWAY, 0, 0, bytes(7)),
    "push": frame(5, END_HEADERS, 1, b"\0\0\0\2\x82"),
}


@pytest.mark.parametrize("what", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(what):
    start = MALFORMED["not a preface"] == what or what.startswith(PREFACE)
    rude = Rude(silent=start)
    rude.say(what)
    assert rude.cut and rude.ended is not None
    counters = rude.server.counters
    assert (counters.malformed, counters.flooded) in ((1, 0), (0, 1))
    assert len(rude.server) == 0 and rude.server.half_open == 0


def test_what_was_said_before_goes_up_and_nothing_after_the_end():
    rude = Rude()
    rude.say(rude.headers(1))
    rude.events[-1].carrier.respond(1, OK)
    rude.say(frame(DATA, 0, 1, b"capsules"))
    rude.say(frame(PING, 0, 1, bytes(8)))
    assert [type(event).__name__ for event in rude.events[-2:]] == ["DataReceived", "CarrierClosed"]
    rude.server.receive(1, b"more", rude.now)
    rude.events[0].carrier.send_data(1, b"x")
    rude.events[0].carrier.close(0)
    assert rude.server.poll_events() == [] and rude.server.poll_transmit() == []


def test_data_after_the_end_of_its_stream_is_not_told():
    rude = Rude()
    rude.say(rude.headers(1))
    rude.say(frame(DATA, END_STREAM, 1, b"last"))
    rude.say(frame(DATA, 0, 1, b"late"))
    assert [e.data for e in rude.events if isinstance(e, DataReceived)] == [b"last"]


def test_a_handshake_message_that_is_long_and_never_whole():
    """A ClientHello of 128 KiB is what OpenSSL would wait for."""
    rude = Rude(silent=True)
    assert rude.server.accept(2, ("203.0.113.66", 667), 0.0)
    content = b"\x01\x01\xff\x00" + b"\3\3" + bytes(1 << 17)
    for start in range(0, 120_000, 16384):
        rude.server.receive(2, b"\x16\3\1\x40\0" + content[start : start + 16384], 0.0)
        rude.server.handle_timeout(0.0)
    rude.server.poll_transmit()
    assert rude.server.counters.flooded == 1 and len(rude.server) == 1


def test_an_error_that_nobody_foresaw_ends_only_its_connection(monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake in a library")

    rude = Rude()
    monkeypatch.setattr(H2Connection, "receive_data", fail)
    rude.say(frame(PING, payload=bytes(8)))
    assert rude.ended is not None and rude.ended.reason == "HTTP/2: RuntimeError"
    assert rude.cut and rude.server.counters.malformed == 1


def test_an_error_in_a_handshake_that_nobody_foresaw_ends_only_its_connection(monkeypatch):
    def fail(*_):
        raise RuntimeError("a certificate that nobody has seen yet")

    monkeypatch.setattr(SSL.Connection, "get_peer_certificate", fail)
    pair = Pair()
    pair.settle()
    assert len(pair.server) == 0 and pair.server.counters.tls_failed == 1


@pytest.mark.parametrize("seed", range(30))
def test_noise_in_place_of_frames_never_raises(seed):
    """Random, but with the right to look like frames."""
    chance = random.Random(seed)
    rude = Rude()
    if seed % 3:
        rude.say(rude.headers(1))
        rude.events[0].carrier.respond(1, OK)
    for _ in range(400):
        kind, flags = chance.randrange(12), chance.choice((0, 1, 4, 5, 8, 13, 0x2C))
        payload = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 9, 40)))
        rude.say(frame(kind, flags, chance.choice((0, 0, 1, 1, 2, 3, 5)), payload))
        if rude.cut:
            break
        rude.now += 0.5
    rude.server.handle_timeout(rude.now)
    check(rude.server.counters, len(rude.server))


@pytest.mark.parametrize("seed", range(20))
def test_noise_in_place_of_tls_never_raises(seed):
    chance = random.Random(seed)
    rude = Rude(silent=True)
    assert rude.server.accept(2, ("203.0.113.66", 667), 0.0)
    for _ in range(10):
        data = chance.randbytes(chance.randrange(1, 200))
        rude.server.receive(2, data if seed % 2 else b"\x16\x03\x01\x00\x40\x01" + data, 0.0)
        rude.server.poll_transmit()
    rude.server.receive(2, b"", 0.0)
    rude.server.poll_transmit()
    assert len(rude.server) == 1  # the other one
    check(rude.server.counters, 1)


SERVERS = {
    "push": frame(5, END_HEADERS, 1, b"\0\0\0\2\x88"),
    "stream of its own": frame(HEADERS, END_HEADERS, 2, b"\x88"),
    "no status": frame(HEADERS, END_HEADERS, 1, b"\x87"),
    "endless interim answers": frame(HEADERS, END_HEADERS, 1, b"\x08\x03103") * 1000,
    "ping flood": frame(PING, payload=bytes(8)) * 1000,
}


@pytest.mark.parametrize("what", SERVERS.values(), ids=SERVERS.keys())
def test_a_server_that_does_wrong(what):
    server = RudeServer({8: 1})
    assert server.client.carrier.request(EXTENDED) == 1
    server.exchange()
    server.say(what)
    assert server.client.closed and isinstance(server.events[-1], CarrierClosed)
    check(server.client.counters, 0)


def test_tls_that_can_encrypt_no_more_ends_only_its_connection(monkeypatch):
    def fail(*_):
        raise SSL.Error

    rude = Rude()
    rude.events[0].carrier.ping()
    monkeypatch.setattr(SSL.Connection, "sendall", fail)
    rude.exchange()
    assert rude.cut and rude.server.counters.tls_failed == 1 and rude.ended is not None


def test_interim_answers_are_not_shown_and_the_final_one_is():
    server = RudeServer({8: 1})
    server.client.carrier.request(EXTENDED)
    server.exchange()
    server.say(server.headers(1, [(b":status", b"103")]) + server.headers(1, OK))
    assert [event.headers for event in server.events if isinstance(event, ResponseReceived)] == [OK]


def test_a_quoted_secret_is_not_in_the_reason():
    rude = Rude()
    rude.say(rude.headers(1, [*EXTENDED, (b"authorization", b" Bearer hunter2 ")]))
    assert rude.ended is not None and "hunter2" not in rude.ended.reason


def check(counters: Counters, still_open: int) -> None:
    """Every connection is open, or counted once."""
    ends = (
        counters.closed
        + counters.closed_by_peer
        + counters.tls_failed
        + counters.malformed
        + counters.flooded
        + counters.late
        + counters.evicted
        + counters.dead
        + counters.idle
    )
    assert counters.accepted == still_open + ends
