"""What a client with a connection can do to the PoP: nothing that the others notice."""

import tracemalloc

import pytest
from quic_pair import CONNECT, OK, Pair, server_settings
from rogue import Rogue, h3_frame, stream_frame, varint

from edge.io.quic import QuicServer
from edge.proto.masque.carrier import CarrierClosed, CarrierReady, DatagramsReceived, RequestReceived
from edge.proto.types import DropReason

EXCESSIVE_LOAD = (0x107, False)
NOW = 1000.0


@pytest.fixture
def server():
    counter = iter(range(1, 1 << 30))
    return QuicServer(server_settings(), now=NOW, rng=lambda n: next(counter).to_bytes(n))


@pytest.fixture
def rogue(server):
    rogue = Rogue(server, NOW)
    assert any(isinstance(event, CarrierReady) for event in rogue.server_events)
    return rogue


def close_of(rogue):
    [closed] = [event for event in rogue.server_events if isinstance(event, CarrierClosed)]
    return closed.code, closed.transport


def gone(rogue):
    return rogue.server.connections == rogue.server.cids == 0


# -- HTTP --


def test_datagrams_of_streams_that_nobody_opened_are_shown_and_kept_nowhere(rogue):
    rogue.inject(varint(0x31, 3) + b"\x05\0x", varint(0x31, 6) + varint(0x12345) + b"\0z")
    events = [e for e in rogue.server_events if isinstance(e, DatagramsReceived)]
    assert [(e.stream, e.payloads) for e in events] == [(20, [b"\0x"]), (0x12345 * 4, [b"\0z"])]
    assert rogue.closed is None


@pytest.mark.parametrize("datagram", [b"", b"\x40", b"\xc0\x00\x00"])
def test_a_datagram_without_a_stream_closes(rogue, datagram):
    rogue.inject(varint(0x31, len(datagram)) + datagram)
    assert close_of(rogue) == (0x33, False)


def test_opening_and_resetting_streams_is_limited(rogue):
    opened = 0
    while rogue.closed is None and opened < 100_000:
        stream = rogue.quic.get_next_available_stream_id()
        rogue.quic.send_stream_data(stream, b"\x01")
        rogue.quic.reset_stream(stream, 0x10C)
        rogue.exchange(2)
        opened += 1
    assert close_of(rogue) == EXCESSIVE_LOAD
    assert opened < 50
    assert gone(rogue)
    assert not any(isinstance(event, RequestReceived) for event in rogue.server_events)


def test_requests_that_end_at_once_are_limited_too(rogue):
    requests = 0
    while rogue.closed is None and requests < 10_000:
        stream = rogue.quic.get_next_available_stream_id()
        rogue.h3.send_headers(stream, CONNECT, end_stream=True)
        rogue.exchange()
        for event in rogue.server_events:
            if isinstance(event, RequestReceived):
                event.carrier.respond(event.stream, [(b":status", b"404")], end=True)
        rogue.exchange(2)
        requests += 1
    assert close_of(rogue) == EXCESSIVE_LOAD
    assert requests < 200


def test_few_streams_at_once(rogue):
    rogue.inject(stream_frame(8 * 4, b""))
    assert close_of(rogue) == (0x4, True)  # STREAM_LIMIT_ERROR


def test_a_frame_that_never_ends_is_not_collected(rogue):
    stream, offset = 0, 0
    data = h3_frame(0x1, b"", claimed=1 << 30)
    while rogue.closed is None and offset < 1 << 20:
        rogue.inject(stream_frame(stream, data, offset))
        offset += len(data)
        data = bytes(1000)
    assert close_of(rogue) == EXCESSIVE_LOAD
    assert offset < 20_000


def test_settings_that_never_end_are_not_collected(server):
    rogue = Rogue(server, NOW, connect=False)
    rogue.exchange(4)
    data, offset = varint(0) + h3_frame(0x4, b"", claimed=1 << 30), 0
    while rogue.closed is None and offset < 1 << 20:
        rogue.inject(stream_frame(2, data, offset))
        offset += len(data)
        data = bytes(1000)
    assert close_of(rogue) == EXCESSIVE_LOAD


def test_many_fields_out_of_few_octets_close(rogue):
    # Two octets of prefix, then indexed field lines of the static table, which stand for 40 octets and more.
    section = b"\0\0" + bytes([0xC0 | 30]) * 600
    rogue.inject(stream_frame(0, h3_frame(0x1, section)))
    assert rogue.closed is not None
    assert not any(isinstance(event, RequestReceived) for event in rogue.server_events)


def test_a_large_field_section_is_refused(rogue):
    fields = [*CONNECT, *((b"x-%d" % n, b"") for n in range(450))]
    rogue.h3.send_headers(0, fields)
    rogue.exchange(20)
    assert close_of(rogue) == EXCESSIVE_LOAD


def test_there_is_no_dynamic_table_to_blow_up(rogue):
    encoder = rogue.h3._local_encoder_stream_id
    sent = rogue.quic._streams[encoder].sender.highest_offset
    rogue.inject(stream_frame(encoder, b"\x3f\xe1\x1f", sent))  # Set Dynamic Table Capacity 4096
    assert close_of(rogue) == (0x201, False)  # QPACK_ENCODER_STREAM_ERROR


def test_no_stream_is_ever_blocked_by_the_table(rogue):
    section = b"\x02\x00\x80"  # refers to the first insertion, which never came
    rogue.inject(stream_frame(0, h3_frame(0x1, section)))
    assert close_of(rogue) == (0x200, False)  # QPACK_DECOMPRESSION_FAILED


# -- TLS messages --


@pytest.mark.parametrize("offset", [40_000, 500_000, 1 << 40])
def test_tls_messages_far_ahead_are_not_kept(rogue, offset):
    rogue.inject(varint(0x06, offset, 1) + b"x")
    assert close_of(rogue) == (0xD, True)  # CRYPTO_BUFFER_EXCEEDED


def test_a_tls_message_that_never_ends_is_not_collected(rogue):
    offset, data = 0, b"\x04\xff\xff\xff"
    while rogue.closed is None and offset < 1 << 20:
        rogue.inject(varint(0x06, offset, len(data)) + data)
        offset += len(data)
        data = bytes(1000)
    assert close_of(rogue) == (0xD, True)
    assert offset < 40_000


def test_a_handshake_that_leaves_gaps_is_not_kept(server):
    from aioquic import tls

    rogue = Rogue(server, NOW, connect=False)
    rogue.send([rogue.packet(varint(0x06, 0, 4) + b"\x01\0\x40\0", bytes(1200), epoch=tls.Epoch.INITIAL)])
    assert server.half_open == 1
    rogue.send([rogue.packet(varint(0x06, 60_000, 1), b"x", bytes(1200), epoch=tls.Epoch.INITIAL)])
    assert server.half_open == 0
    assert server.counters.handshakes_failed == 1


# -- flow control --


def test_windows_slide_and_do_not_double(rogue):
    streams = (0, 4)
    for stream in streams:
        rogue.h3.send_headers(stream, CONNECT)
    rogue.exchange(2)
    read = rogue.quic._streams[0].sender.highest_offset
    assert read == rogue.quic._streams[4].sender.highest_offset
    granted = rogue.quic._remote_max_data
    for _ in range(20):
        for stream in streams:
            # The last octets that may be sent, and nothing before them: much to keep for little.
            limit = rogue.quic._streams[stream].max_stream_data_remote
            rogue.inject(stream_frame(stream, b"x", limit - 1000))
        rogue.exchange(2)
    assert rogue.closed is None
    for stream in streams:
        assert rogue.quic._streams[stream].max_stream_data_remote <= read + (64 << 10)
    assert rogue.quic._remote_max_data < granted + (8 << 10)


def test_a_long_stream_is_read_to_its_end():
    pair = Pair()
    carrier, _, stream = pair.tunnel()
    for _ in range(40):
        carrier.send_data(stream, bytes(50_000))
        pair.run(1)
    read = sum(len(event.data) for event in pair.server.events if hasattr(event, "data"))
    assert read == 40 * 50_000


def test_pieces_with_gaps_are_limited(rogue):
    piece = 0
    while rogue.closed is None and piece < 5000:
        rogue.inject(*(stream_frame(0, b"x", 10 + 2 * n) for n in range(piece, piece + 40)))
        piece += 40
    assert piece < 200
    assert gone(rogue)


def test_a_client_that_takes_nothing_is_let_go(rogue):
    rogue.h3.send_headers(0, CONNECT)
    rogue.exchange(2)
    [asked] = [event for event in rogue.server_events if isinstance(event, RequestReceived)]
    asked.carrier.respond(0, OK)
    for _ in range(1000):
        asked.carrier.send_data(0, bytes(1000))
    rogue.send([])
    assert close_of(rogue) == EXCESSIVE_LOAD


# -- acknowledgments --


def test_what_was_never_sent_cannot_be_acknowledged(rogue):
    rogue.inject(varint(0x02, 5_000_000, 0, 0, 3))
    assert close_of(rogue) == (0xA, True)


def test_many_ranges_in_acknowledgments_do_no_harm(rogue):
    for _ in range(200):
        rogue.inject(varint(0x02, 3, 0, 1, 0) + varint(0, 0))
    assert rogue.closed is None
    rogue.inject(varint(0x02, 3, 0, 300, 0) + varint(0, 0) * 300)  # below zero
    assert close_of(rogue) == (0x7, True)


def test_a_client_that_acknowledges_nothing_is_let_go_in_the_end(rogue):
    packets = 0
    while packets < 20_000:
        rogue.now += 0.002
        rogue.inject(varint(0x31, 3) + b"\0\0x", hear=False)
        packets += 1
        if any(isinstance(event, CarrierClosed) for event in rogue.server_events):
            break
    assert close_of(rogue) == EXCESSIVE_LOAD


# -- connection ids and paths --


def test_retiring_ids_for_ever_keeps_the_table_small(rogue):
    most = 0
    for step in range(1, 3000):
        rogue.now += 0.01
        rogue.inject(varint(0x19, step))
        most = max(most, rogue.server.cids)
        if rogue.closed:
            break
    assert most <= 20


def test_new_ids_are_limited(rogue):
    new = [varint(0x18, n, 0) + b"\x08" + n.to_bytes(8) + bytes(16) for n in range(8, 40)]
    rogue.inject(*new)
    assert close_of(rogue) == (0x9, True)  # CONNECTION_ID_LIMIT_ERROR


def test_ids_that_replace_each_other_do_not_pile_up(rogue):
    for n in range(10, 2000):
        rogue.inject(varint(0x18, n, n) + b"\x08" + n.to_bytes(8) + bytes(16), hear=False)
        if rogue.server.connections == 0:
            break
    assert rogue.server.cids <= 20


def test_challenges_are_answered_within_reason(rogue):
    before = rogue.received
    for _ in range(20):
        rogue.inject(*(varint(0x1A) + bytes(8) for _ in range(120)))
    assert rogue.received - before < 3 * 20 * 1350


# -- all of it --


def test_a_hostile_connection_needs_little_memory(rogue):
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for step in range(300):
        rogue.now += 0.09
        rogue.inject(varint(0x31, 1000) + b"\x01" + bytes(999))
        rogue.inject(varint(0x06, 1000 + 2 * step % 100, 1) + b"x", hear=False)
        rogue.inject(stream_frame(4, b"x", 30_000 + 2 * (step % 50)), hear=False)
        rogue.server_events.clear()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert rogue.closed is None
    assert after - before < 1 << 20


def test_a_crash_of_the_library_ends_one_connection_only():
    pair = Pair()
    other = pair.add()
    _, _, stream = pair.tunnel()
    carrier, _, _ = pair.tunnel(other)
    victim = pair.server.seen(RequestReceived)[0].carrier

    victim.receive = raises
    pair.client.endpoint.carrier.ping()
    pair.run(0.1)
    counters = pair.server.endpoint.counters
    assert counters.failures == 1
    assert counters.closed["failed"] == 1
    [closed] = pair.server.seen(CarrierClosed)
    assert closed.carrier is victim
    carrier.send_datagrams(stream, [b"\0still here"])
    pair.run(0.1)
    assert pair.server.payloads() == [b"\0still here"]
    assert pair.server.endpoint.connections == 1


def raises(*_):
    raise RuntimeError("never seen before")


def test_empty_datagrams_are_counted_and_nothing_else(rogue):
    server = rogue.server
    server.receive([(memoryview(b""), 0, ("203.0.113.9", 9))] * 1000, NOW)
    assert server.drops[DropReason.MALFORMED] == 1000
    assert server.poll_transmit() == []
