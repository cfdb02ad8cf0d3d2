"""What waits, what goes first, and what dies, when the peer or the transport takes little."""

from __future__ import annotations

import pytest

from edge.io.http2.connection import UNWRITTEN_LIMIT
from edge.proto.masque.carrier import QUEUE_LIMIT, DataReceived
from edge.proto.types import DropReason
from tests.edge.io.http2.pair import OK, Pair
from tests.edge.io.http2.rude import DATA, PING, WINDOW_UPDATE, Rude, frame


def told(events) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, DataReceived))


def capsule(payload: bytes) -> bytes:
    size = len(payload)
    return b"\0" + (bytes([size]) if size < 64 else (0x4000 | size).to_bytes(2)) + payload


def slow(window: int) -> tuple[Rude, object]:
    """A client that grants so much for each stream, with its stream 1 answered."""
    rude = Rude({4: window})
    rude.say(rude.headers(1))
    carrier = rude.events[0].carrier
    carrier.respond(1, OK)
    rude.exchange()
    rude.exchange()
    return rude, carrier


def data(rude: Rude) -> list[bytes]:
    rude.exchange()
    rude.exchange()
    return [payload for kind, _, _, payload in rude.frames() if kind == DATA]


def test_datagrams_of_one_turn_share_a_frame():
    rude, carrier = slow(1 << 20)
    packets = [bytes([n]) * 1200 for n in range(8)]
    for packet in packets:
        carrier.send_datagrams(1, [packet])
    assert data(rude) == [b"".join(map(capsule, packets))]


def test_frames_are_never_longer_than_every_peer_takes():
    rude, carrier = slow(1 << 20)
    packets = [bytes([n]) * 1200 for n in range(40)]
    carrier.send_datagrams(1, packets)
    frames = data(rude)
    assert max(map(len, frames)) <= 16384 and len(frames) == 4
    assert b"".join(frames) == b"".join(map(capsule, packets))


def test_capsules_go_before_datagrams_that_wait_and_never_into_one():
    rude, carrier = slow(100)
    carrier.send_datagrams(1, [b"d" * 200, b"e" * 50])
    assert data(rude) == [capsule(b"d" * 200)[:100]]
    carrier.send_data(1, b"\x01\x01c")
    rude.say(frame(WINDOW_UPDATE, 0, 1, (1000).to_bytes(4)))
    assert b"".join(data(rude)) == capsule(b"d" * 200) + b"\x01\x01c" + capsule(b"e" * 50)


def test_no_window_no_octet_and_the_oldest_dies_first():
    rude, carrier = slow(0)
    packets = [n.to_bytes(2) * 500 for n in range(QUEUE_LIMIT + 10)]
    for packet in packets:
        carrier.send_datagrams(1, [packet])
        rude.exchange()
    queue = carrier.queue(1)
    assert (len(queue), queue.drops) == (QUEUE_LIMIT, {DropReason.QUEUE_FULL: 10})
    assert data(rude) == []
    rude.say(frame(WINDOW_UPDATE, 0, 1, (1 << 20).to_bytes(4)))
    rude.say(frame(WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4)))
    assert b"".join(data(rude)) == b"".join(map(capsule, packets[10:]))


def test_the_window_of_the_connection_counts_as_well():
    rude, carrier = slow(1 << 20)
    carrier.send_datagrams(1, [bytes(1000)] * 100)
    assert sum(map(len, data(rude))) == 65535
    rude.say(frame(WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4)))
    assert sum(map(len, data(rude))) == 100 * 1003


def test_a_window_of_one_octet_at_a_time_still_moves():
    rude, carrier = slow(1)
    carrier.send_datagrams(1, [b"xyz", b"abc"])
    for _ in range(12):
        rude.say(frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4)))
    assert b"".join(data(rude)) == capsule(b"xyz") + capsule(b"abc")


def test_a_window_that_shrinks_below_zero_is_waited_out():
    """RFC 9113 section 6.9.2."""
    rude, carrier = slow(1000)
    carrier.send_datagrams(1, [bytes(797)])
    assert len(data(rude)) == 1
    rude.say(frame(4, payload=b"\0\4" + (10).to_bytes(4)))
    carrier.send_datagrams(1, [bytes(100)])
    assert len(data(rude)) == 1
    rude.say(frame(WINDOW_UPDATE, 0, 1, (1000).to_bytes(4)))
    assert data(rude)[1:] == [capsule(bytes(100))]


def test_datagrams_wait_while_the_transport_takes_nothing():
    pair = Pair()
    stream = pair.tunnel()
    server, queue = pair.accepted, pair.accepted.queue(stream)
    packets = [n.to_bytes(2) * 600 for n in range(600)]
    kept = 0
    for packet in packets:
        server.send_datagrams(stream, [packet])
        kept += sum(len(octets) for _, octets, _ in pair.server.poll_transmit())
    assert UNWRITTEN_LIMIT <= kept <= UNWRITTEN_LIMIT + 16384 + 1000
    assert len(queue) == QUEUE_LIMIT and queue.drops[DropReason.QUEUE_FULL] > 0
    pair.server.written(1, kept)
    assert pair.server.poll_transmit()[0][1]
    assert len(queue) < QUEUE_LIMIT


def test_a_slow_reader_gets_the_newest_and_everything_in_order():
    pair = Pair()
    stream = pair.tunnel()
    pair.takes = False
    server = pair.accepted
    packets = [n.to_bytes(2) * 600 for n in range(2000)]
    blob = b""
    for start in range(0, 2000, 50):
        server.send_datagrams(stream, packets[start : start + 50])
        blob += b"".join(octets for _, octets, _ in pair.server.poll_transmit())
    pair.client.receive(blob, pair.now)
    pair.server.written(1, len(blob))
    pair.takes = True
    pair.settle()
    got = told(pair.client_events)
    numbers = [int.from_bytes(got[at + 3 : at + 5]) for at in range(0, len(got), 1203)]
    assert numbers == sorted(numbers) and len(numbers) < 600
    assert numbers[-QUEUE_LIMIT:] == list(range(2000 - QUEUE_LIMIT, 2000))
    assert len(numbers) + server.queue(stream).drops.total() == 2000


def test_a_peer_that_takes_nothing_but_makes_us_answer_is_cut_off():
    rude = Rude()
    for _ in range(2000):
        rude.now += 1
        rude.tls.send(frame(PING, payload=bytes(8)) * 30)
        rude.server.receive(1, rude.tls.poll(), rude.now)
        if any(close for *_, close in rude.server.poll_transmit()):
            break
    assert rude.server.counters.dead == 1 and len(rude.server) == 0


def test_much_flows_through_default_windows_both_ways():
    pair = Pair()
    stream = pair.tunnel()
    packets = [n.to_bytes(2) * 600 for n in range(100)]
    for _ in range(120):  # 14 MB, several times every window
        pair.client.carrier.send_datagrams(stream, packets)
        pair.accepted.send_datagrams(stream, packets)
        pair.settle()
    whole = b"".join(map(capsule, packets)) * 120
    assert told(pair.client_events) == whole
    assert told(pair.server_events) == whole


def test_a_payload_that_does_not_fit():
    pair = Pair()
    stream = pair.tunnel()
    room = pair.accepted.datagram_room(stream)
    pair.accepted.send_datagrams(stream, [bytes(room), bytes(room + 1)])
    pair.settle()
    assert told(pair.client_events) == capsule(bytes(room))
    assert pair.accepted.queue(stream).drops == {DropReason.TOO_BIG: 1}


def test_streams_take_turns():
    rude, carrier = slow(1 << 20)
    rude.say(rude.headers(3))
    carrier.respond(3, OK)
    for stream in (1, 3):
        carrier.send_datagrams(stream, [bytes(1000)] * 32)
    rude.exchange()
    rude.exchange()
    order = [stream for kind, _, stream, _ in rude.frames() if kind == DATA]
    assert order[:4] == [1, 3, 1, 3]


@pytest.mark.parametrize("early", [b"", b"capsule"])
def test_nothing_goes_out_before_the_response(early):
    rude = Rude()
    rude.say(rude.headers(1))
    carrier = rude.events[0].carrier
    carrier.send_data(1, early)
    carrier.send_datagrams(1, [b"early"])
    assert data(rude) == []
    carrier.respond(1, OK)
    assert b"".join(data(rude)) == early + capsule(b"early")
    assert next(kind for kind, _, stream, _ in rude.frames() if stream == 1) == 1
