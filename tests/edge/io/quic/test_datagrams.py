"""HTTP datagrams on their way out: how large, how many wait, and who goes first."""

import pytest
from aioquic.quic.events import DatagramFrameReceived
from quic_pair import CONNECT, OK, Pair, server_settings
from rogue import Rogue

from edge.io.quic import QuicServer
from edge.proto.masque.carrier import QUEUE_LIMIT, DataReceived, RequestReceived
from edge.proto.types import DropReason

NOW = 1000.0


def peer(**configuration):
    """(rogue, carrier of the server) with one request that was answered."""
    server = QuicServer(server_settings(), now=NOW, rng=bytes)
    rogue = Rogue(server, NOW, **configuration)
    rogue.h3.send_headers(0, CONNECT)
    rogue.exchange(3)
    [asked] = [event for event in rogue.server_events if isinstance(event, RequestReceived)]
    asked.carrier.respond(0, OK)
    rogue.exchange(40)
    return rogue, asked.carrier


NOBODY = 1 << 40  # a stream that there is not: where what had left its queue is counted


def frames(rogue):
    return [event.data for event in rogue.events if isinstance(event, DatagramFrameReceived)]


@pytest.mark.parametrize("cid_length", [1, 4, 8, 20])
def test_what_fits_depends_on_the_peers_connection_ids(cid_length):
    rogue, carrier = peer(connection_id_length=cid_length)
    room = carrier.datagram_room(0)
    assert room == 1350 - 23 - cid_length
    carrier.send_datagrams(0, [bytes(room + 1), bytes(room)])
    rogue.exchange(5)
    assert [len(frame) for frame in frames(rogue)] == [room + 1]  # with its quarter stream id
    assert carrier.queue(0).drops == {DropReason.TOO_BIG: 1}


@pytest.mark.parametrize("largest", [1, 2, 3, 40, 64, 65, 66, 67, 100, 1000, 1322, 1323, 1400])
def test_what_fits_depends_on_the_largest_frame_that_the_peer_takes(largest):
    rogue, carrier = peer(max_datagram_frame_size=largest)
    room = carrier.datagram_room(0)
    carrier.send_datagrams(0, [bytes(room + 1)])
    assert carrier.queue(0).drops[DropReason.TOO_BIG] == 1
    if not room:
        return
    carrier.send_datagrams(0, [bytes(room)])
    rogue.exchange(5)
    [frame] = frames(rogue)
    size = len(frame) + (2 if len(frame) < 64 else 3)
    assert size == min(largest, 1350 - 19 - 8) or (size, largest) == (65, 66)  # no frame has 66 octets


def test_a_peer_that_takes_no_datagrams_gets_none():
    rogue, carrier = peer(max_datagram_frame_size=None)
    assert carrier.datagram_room(0) == 0
    carrier.send_datagrams(0, [b"\0"])
    rogue.exchange()
    assert frames(rogue) == []


def test_what_fits_depends_on_the_stream():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    short = far.datagram_room(stream)
    far.end(stream)
    carrier.end(stream)
    while stream < 256:
        pair.run(1)
        stream = carrier.request(CONNECT)
        pair.until(lambda: pair.server.seen(RequestReceived)[-1].stream == stream)  # noqa: B023
        far.respond(stream, OK, end=stream < 256)
        if stream < 256:
            carrier.end(stream)
    pair.run(1)
    room = far.datagram_room(stream)
    assert room == short - 1 == carrier.datagram_room(stream)
    for end in (carrier, far):
        end.send_datagrams(stream, [bytes(room), bytes(room + 1)])
    pair.run(1)
    assert [len(payload) for payload in pair.client.payloads(256)] == [room]
    assert [len(payload) for payload in pair.server.payloads(256)] == [room]


def test_a_packet_of_1280_octets_fits_with_its_context():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    assert min(end.datagram_room(stream) for end in (carrier, far)) >= 1281


def test_small_udp_payloads_are_respected(monkeypatch):
    """A peer whose max_udp_payload_size is 1200 must not get larger ones."""
    import aioquic.quic.connection as library

    push = library.push_quic_transport_parameters

    def smaller(buf, parameters):
        if parameters.original_destination_connection_id is None:
            parameters.max_udp_payload_size = 1200
        push(buf, parameters)

    monkeypatch.setattr(library, "push_quic_transport_parameters", smaller)
    pair = Pair()
    _, far, stream = pair.tunnel()
    assert far.datagram_room(stream) == 1200 - 31
    far.send_datagrams(stream, [bytes(1200 - 31)])
    before = len(pair.server.sent)
    pair.run(1)
    assert max(size for _, size in pair.server.sent[before:]) == 1200
    assert len(pair.client.payloads()) == 1


def test_the_oldest_dies_while_the_window_is_shut():
    pair = Pair()
    carrier, _, stream = pair.tunnel()
    pair.run(1)
    pair.lose = lambda datagram, source: True
    numbered = [n.to_bytes(2) + bytes(1000) for n in range(1000)]
    for start in range(0, 1000, 50):
        carrier.send_datagrams(stream, numbered[start : start + 50])
        pair.run(0.001)
    assert len(carrier.queue(stream)) == QUEUE_LIMIT
    died = carrier.queue(stream).drops[DropReason.QUEUE_FULL]
    assert carrier.queue(stream).drops == {DropReason.QUEUE_FULL: died}
    assert 600 < died < 1000 - QUEUE_LIMIT
    pair.lose = lambda datagram, source: False
    pair.run(20)
    assert len(carrier.queue(stream)) == 0
    assert pair.server.payloads()[-QUEUE_LIMIT:] == numbered[-QUEUE_LIMIT:]


def test_nothing_that_waits_is_lost_without_being_counted():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    pair.lose = lambda datagram, source: True
    carrier.send_datagrams(stream, [bytes(1000)] * 100)
    pair.run(0.01)
    queue = carrier.queue(stream)
    waited = len(queue)
    carrier.close(0x100)
    pair.run(0.01)
    assert len(queue) == 0
    assert waited <= queue.drops[DropReason.TUNNEL_DOWN] <= waited + 1  # the library may have had one
    carrier.send_datagrams(stream, [b"late"] * 3)
    assert carrier.queue(NOBODY).drops == {DropReason.TUNNEL_DOWN: 3}
    far.send_datagrams(stream + 4, [b"no such stream"])
    assert far.queue(stream + 4).drops == {DropReason.TUNNEL_DOWN: 1}


def test_datagrams_do_not_outlive_the_stream():
    pair = Pair()
    carrier, _, stream = pair.tunnel()
    carrier.end(stream)
    carrier.send_datagrams(stream, [b"\0late"])
    pair.run(1)
    assert pair.server.payloads() == []
    assert carrier.queue(stream).drops == {DropReason.TUNNEL_DOWN: 1}


def test_capsules_pass_a_full_queue():
    pair = Pair()
    carrier, _, stream = pair.tunnel()
    pair.run(1)
    full = bytes(carrier.datagram_room(stream))  # so that beside it nothing else fits into a packet
    carrier.send_datagrams(stream, [full] * QUEUE_LIMIT)
    pair.run(0.001)
    carrier.send_data(stream, b"important" * 400)
    asked = pair.now
    while sum(len(event.data) for event in pair.server.seen(DataReceived)) != 3600:
        carrier.send_datagrams(stream, [full] * 20)
        pair.run(0.01)
        assert pair.now < asked + 0.2
    assert len(carrier.queue(stream)) > 100


def test_streams_take_turns():
    pair = Pair()
    carrier, far, first = pair.tunnel()
    second = carrier.request(CONNECT)
    pair.until(lambda: len(pair.server.seen(RequestReceived)) == 2)
    far.respond(second, OK)
    pair.run(1)
    far.send_datagrams(first, [bytes(1200)] * 200)
    far.send_datagrams(second, [bytes(1200)] * 200)
    pair.run(0.1)
    counts = [len(pair.client.payloads(stream)) for stream in (first, second)]
    assert min(counts) > 5
    assert abs(counts[0] - counts[1]) <= 4


def test_longer_ids_of_the_peer_do_not_block_the_queue():
    """The peer's next connection id may be longer: what was fed and does not fit any more dies."""
    rogue, carrier = peer()
    room = carrier.datagram_room(0)
    carrier.send_datagrams(0, [bytes(room)] * 60)
    rogue.send([], hear=False)
    rogue.inject(
        b"\x18" + b"\x40\x40" * 2 + b"\x14" + bytes(20) + bytes(16), hear=False
    )  # retires all before
    assert carrier.datagram_room(0) == room - 12
    carrier.send_datagrams(0, [b"\0small"] * 5)
    before = len(rogue.datagrams)
    for _ in range(200):
        rogue.now += 0.05
        rogue.send([], hear=False)
    assert len(carrier.queue(0)) < 65
    assert len(rogue.datagrams) > before
    assert carrier.queue(NOBODY).drops[DropReason.TOO_BIG] > 0
