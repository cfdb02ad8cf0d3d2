"""Newcomers, the table of connection ids, moving peers, and the end of connections."""

import gc

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from quic_pair import (
    CLIENT,
    CONNECT,
    NAME,
    OK,
    SERVER,
    Pair,
    client_settings,
    identity,
    read,
    server_settings,
)
from rogue import Rogue

from edge.config.types import Retry
from edge.io.quic import ClientSettings, QuicClient, QuicServer, ServerSettings
from edge.io.quic.connection import Connection
from edge.io.quic.retry import RetryTokens
from edge.proto.masque.carrier import CarrierClosed, CarrierReady, PeerMoved, RequestReceived
from edge.proto.types import NEVER, BadPacket, DropReason

NOW = 1000.0
KEY = bytes(range(32))


def make_server(**changes):
    counter = iter(range(1, 1 << 30))
    return QuicServer(server_settings(**changes), now=NOW, rng=lambda n: next(counter).to_bytes(n))


def hello(source=CLIENT):
    """The first datagrams of a client that nobody has answered yet."""
    client = QuicClient(client_settings(), SERVER, now=NOW)
    return client, [d for _, datagrams in client.poll_transmit() for d in datagrams]


def ask(server, datagrams, source=CLIENT, now=NOW):
    server.receive([read(datagram, source) for datagram in datagrams], now)
    return [d for address, answers in server.poll_transmit() if address == source for d in answers]


def header(datagram):
    return pull_quic_header(Buffer(data=datagram), host_cid_length=8)


# -- proving an address --


def test_a_newcomer_proves_its_address_if_always_asked():
    pair = Pair(server=server_settings(retry=Retry.ALWAYS))
    pair.connect()
    pair.run(1)
    counters = pair.server.endpoint.counters
    assert (counters.retries_sent, counters.handshakes_done) == (1, 1)


def test_retry_keeps_nothing():
    server = make_server(retry=Retry.ALWAYS)
    for port in range(1000, 1040):
        _, datagrams = hello()
        [answer] = ask(server, datagrams, ("198.51.100.1", port))
        assert header(answer).packet_type is QuicPacketType.RETRY
        assert len(answer) < len(datagrams[0])
    assert server.connections == server.half_open == server.cids == 0
    assert server.next_timeout() == NEVER


def test_many_handshakes_under_way_make_it_ask():
    server = make_server(retry_above=4)
    kinds = []
    for port in range(8):
        _, datagrams = hello()
        kinds.append(header(ask(server, datagrams, ("198.51.100.1", port))[0]).packet_type)
    assert kinds == [QuicPacketType.INITIAL] * 4 + [QuicPacketType.RETRY] * 4
    assert server.half_open == 4


def test_a_flood_beyond_the_rate_is_asked_too():
    server = make_server(handshake_rate=2.0)
    for port in range(8):
        ask(server, hello()[1], ("198.51.100.1", port))
    assert server.half_open == 2
    assert server.counters.retries_sent == 6


def test_a_flood_of_forged_addresses_leaves_room_for_who_proves_its_own():
    server = make_server(handshake_rate=2.0)
    for n in range(100):
        junk = b"\xc0\0\0\0\1\x08" + n.to_bytes(8) + b"\x08a source\0\x44\0" + bytes(1200)
        ask(server, [junk], ("203.0.113.9", n + 1))
    client, datagrams = hello()
    [retry] = ask(server, datagrams)
    assert header(retry).packet_type is QuicPacketType.RETRY
    client.receive([read(retry, SERVER)], NOW)
    ask(server, [d for _, ds in client.poll_transmit() for d in ds])
    assert server.half_open == 1


def test_a_token_is_good_at_another_pop_with_the_same_key():
    first, second = (
        make_server(retry=Retry.ALWAYS, retry_key=KEY, wall_offset=offset) for offset in (5000.0, 4000.0)
    )
    client, datagrams = hello()
    client.receive([read(ask(first, datagrams)[0], SERVER)], NOW)
    again = [d for _, ds in client.poll_transmit() for d in ds]
    answers = ask(second, again, now=NOW + 1000)
    client.receive([read(answer, SERVER) for answer in answers], NOW)
    assert client.carrier.established


@pytest.mark.parametrize("spoil", ["address", "id", "time", "bits", "key", "short"])
def test_a_token_that_proves_nothing_is_refused(spoil):
    tokens = RetryTokens(KEY, rng=lambda n: bytes(n))
    token = tokens.issue(CLIENT, b"original", b"retry id", NOW)
    source, cid, now = CLIENT, b"retry id", NOW + 29
    assert tokens.redeem_untrusted(token, source, cid, now) == b"original"
    match spoil:
        case "address":
            source = (CLIENT[0], CLIENT[1] + 1)
        case "id":
            cid = b"other id"
        case "time":
            now = NOW + 31
        case "bits":
            token = token[:-1] + bytes([token[-1] ^ 1])
        case "key":
            tokens = RetryTokens(bytes(32), rng=lambda n: bytes(n))
        case "short":
            token = token[:5]
    with pytest.raises(BadPacket) as refused:
        tokens.redeem_untrusted(token, source, cid, now)
    assert refused.value.reason is DropReason.ADDRESS_UNPROVEN


def test_a_client_with_a_bad_token_is_told():
    server = make_server(retry=Retry.ALWAYS)
    client, datagrams = hello()
    client.receive([read(ask(server, datagrams)[0], SERVER)], NOW)
    again = [d for _, ds in client.poll_transmit() for d in ds]
    [refusal] = ask(server, again, (CLIENT[0], CLIENT[1] + 1))
    assert server.drops[DropReason.ADDRESS_UNPROVEN] == 1
    client.receive([read(refusal, SERVER)], NOW)
    [closed] = client.poll_events()
    assert (closed.code, closed.transport, closed.by_peer) == (0xB, True, True)


def test_a_wrong_key_size_is_refused():
    with pytest.raises(ValueError, match="32"):
        make_server(retry_key=b"short")


# -- other versions and junk --


def test_another_version_is_answered_with_ours():
    server = make_server()
    unknown = b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\x08client's\x08a source" + bytes(1200)
    [answer] = ask(server, [unknown])
    told = header(answer)
    assert told.packet_type is QuicPacketType.VERSION_NEGOTIATION
    assert told.supported_versions == [1]
    assert (told.destination_cid, told.source_cid) == (b"a source", b"client's")
    assert server.counters.versions_negotiated == 1
    assert ask(server, [unknown[:600]]) == []
    assert ask(server, [answer + bytes(1200)]) == []
    assert server.drops[DropReason.MALFORMED] == 2


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"\x40short header", DropReason.UNKNOWN_SESSION),
        (b"\xc0\0\0\0\1\x30", DropReason.MALFORMED),
        (b"\xc0", DropReason.MALFORMED),
        (b"", DropReason.MALFORMED),
        (b"\xe0\0\0\0\1\x08handshak\x08a source\x10" + bytes(1200), DropReason.UNKNOWN_SESSION),
        (b"\xc0\0\0\0\1\x04tiny\x08a source\0\x44\0" + bytes(1200), DropReason.MALFORMED),
        (b"\xc0\0\0\0\1\x08an initi\x08a source\0\x10" + bytes(200), DropReason.MALFORMED),
        (b"\xc0\0\0\0\1\x08an initi\x08a source\0\x44\0" + bytes(1200), DropReason.HANDSHAKE_FAILED),
    ],
)
def test_junk_is_a_counted_drop(datagram, reason):
    server = make_server()
    assert ask(server, [datagram]) == []
    assert server.drops == {reason: 1}
    assert server.connections == server.half_open == server.cids == 0
    assert server.next_timeout() == NEVER


def test_a_flood_of_initials_leaves_nothing():
    server = make_server(half_open_limit=20, retry_above=1000)
    for n in range(300):
        junk = b"\xc0\0\0\0\1\x08" + n.to_bytes(8) + b"\x08a source\0\x44\0" + bytes(1200)
        ask(server, [junk], ("198.51.100.9", n + 1))
        if n < 30:
            ask(server, hello()[1], ("198.51.100.1", n + 1))
    assert server.half_open <= 20
    assert server.drops[DropReason.HANDSHAKE_QUEUE_FULL] > 0
    server.handle_timeout(NOW + 11)
    server.poll_transmit()
    assert server.connections == server.half_open == server.cids == 0
    assert server.poll_events() == []  # nobody has heard of them


def test_answers_that_keep_nothing_are_limited_per_turn():
    server = make_server(retry=Retry.ALWAYS)
    datagrams = [hello()[1][0] for _ in range(4)] * 30
    answers = ask(server, datagrams)
    assert len(answers) == 64
    assert server.drops[DropReason.HANDSHAKE_RATE] == 120 - 64


def test_less_than_three_times_is_sent_to_an_address_that_is_not_proven():
    server = make_server()
    _, datagrams = hello()
    sent = sum(map(len, ask(server, datagrams)))
    now = NOW
    while server.connections and now < NOW + 60:
        now = max(server.next_timeout(), now)
        server.handle_timeout(now)
        sent += sum(len(d) for _, answers in server.poll_transmit() for d in answers)
    assert server.connections == 0
    assert 0 < sent <= 3 * sum(map(len, datagrams))


def test_connections_are_capped():
    pair = Pair(server=server_settings(max_connections=1))
    pair.connect()
    second = pair.add()
    pair.run(1)
    [closed] = second.seen(CarrierClosed)
    assert (closed.code, closed.transport) == (2, True)  # CONNECTION_REFUSED
    assert pair.server.endpoint.connections == 1


def test_one_address_cannot_take_all_handshakes():
    server = make_server(retry=Retry.ALWAYS, retry_above=10_000, source_rate=1.0)
    for _ in range(60):
        client, datagrams = hello()
        for answer in ask(server, datagrams):
            client.receive([read(answer, SERVER)], NOW)
        ask(server, [d for _, ds in client.poll_transmit() for d in ds])
    assert server.connections == 50
    assert server.drops[DropReason.HANDSHAKE_RATE] == 10


def test_a_handshake_that_does_not_end_is_given_up():
    pair = Pair(server=server_settings(handshake_timeout=5.0))
    pair.lose = lambda datagram, source: source == SERVER
    pair.run(4)
    assert pair.server.endpoint.half_open == 1
    pair.run(2)
    assert pair.server.endpoint.connections == 0
    assert pair.server.endpoint.counters.closed == {"handshake": 1}
    pair.run(20)
    [closed] = pair.client.seen(CarrierClosed)
    assert closed.code is None
    assert not closed.by_peer


# -- moving --


def test_a_nat_that_rebinds_is_followed():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    pair.client.address = (CLIENT[0], 50_000)
    carrier.send_datagrams(stream, [b"\0from elsewhere"])
    pair.run(1)
    [moved] = pair.server.seen(PeerMoved)
    assert (moved.carrier, moved.before, far.peer) == (far, CLIENT, (CLIENT[0], 50_000))
    far.send_datagrams(stream, [b"\0to elsewhere"])
    pair.run(1)
    assert pair.client.payloads() == [b"\0to elsewhere"]
    assert pair.server.endpoint.counters.moves == 1


def test_a_client_that_roams_uses_another_id():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    used = set()
    pair.lose = lambda datagram, source: used.add((source, datagram[1:9])) if datagram[0] < 0x80 else None
    for n in range(1, 12):
        pair.client.address = (f"198.51.100.{100 + n}", 40_000)
        pair.client.endpoint.rebind(pair.now)
        pair.run(1)
        assert far.peer == pair.client.address
    carrier.send_datagrams(stream, [b"\0x"])
    pair.run(1)
    assert pair.server.payloads() == [b"\0x"]
    ids = [cid for source, cid in used if source != SERVER]
    assert len(ids) == len(set(ids)) >= 11  # never the same from two addresses
    assert pair.server.endpoint.cids <= 10


def test_a_forged_address_gets_little_and_the_peer_stays():
    pair = Pair()
    carrier, far, stream = pair.tunnel()
    taken = []
    pair.lose = lambda datagram, source: taken.append(datagram) if source != SERVER else False
    carrier.ping()
    pair.run(0.001)
    victim = ("203.0.113.1", 1)
    pair.lose = lambda datagram, source: False
    before = len(pair.server.sent)
    pair.server.endpoint.receive([read(taken[0], victim)], pair.now)
    far.send_datagrams(stream, [bytes(1200)] * 20)
    pair.run(0.001)
    assert sum(size for _, size in pair.server.sent[before:]) <= 3 * len(taken[0])
    pair.run(3)
    assert far.peer == CLIENT


# -- ends --


def test_an_idle_connection_ends():
    pair = Pair(server=server_settings(idle_timeout=10.0))
    pair.tunnel()
    pair.run(9)
    assert pair.server.endpoint.connections == 1
    pair.run(2)
    [closed] = pair.server.seen(CarrierClosed)
    assert (closed.by_peer, closed.code) == (False, None)
    assert "idle" in closed.reason.lower()
    assert pair.server.endpoint.connections == pair.server.endpoint.cids == 0
    assert pair.server.endpoint.counters.closed == {"lost": 1}


@pytest.mark.parametrize("side", ["server", "client"])
def test_keepalive_holds_it(side):
    settings = {"server": server_settings(), "client": client_settings()}
    make = {"server": server_settings, "client": client_settings}[side]
    settings[side] = make(keepalive=5.0)
    pair = Pair(**settings)
    pair.tunnel()
    pair.run(120)
    assert pair.server.endpoint.connections == 1
    assert not pair.client.seen(CarrierClosed)


def test_a_client_that_asks_for_nothing_has_to_go_whatever_signs_of_life_it_gives():
    pair = Pair(client=client_settings(keepalive=10.0))
    pair.connect()
    pair.run(29)
    assert pair.server.endpoint.connections == 1
    pair.run(2)
    [closed] = pair.client.seen(CarrierClosed)
    assert (closed.code, closed.transport) == (0x100, False)  # H3_NO_ERROR
    assert pair.server.endpoint.connections == 0


@pytest.mark.parametrize("refused", [True, False])
def test_it_may_stay_as_long_as_it_has_a_tunnel(refused):
    pair = Pair(client=client_settings(keepalive=10.0))
    carrier = pair.connect()
    stream = carrier.request(CONNECT)
    pair.until(lambda: pair.server.seen(RequestReceived))
    far = pair.server.seen(RequestReceived)[-1].carrier
    far.respond(stream, [(b":status", b"401")] if refused else OK, end=refused)
    pair.run(100)
    assert pair.server.endpoint.connections == (0 if refused else 1)
    if not refused:
        far.end(stream)
        pair.run(31)
        assert pair.server.endpoint.connections == 0


def test_a_dead_peer_is_noticed_despite_keepalive():
    pair = Pair(server=server_settings(keepalive=5.0))
    pair.connect()
    pair.lose = lambda datagram, source: True
    pair.run(40)
    assert pair.server.endpoint.connections == 0


def test_draining_closes_all():
    pair = Pair()
    second = pair.add()
    pair.connect()
    pair.connect(second)
    pair.run(1)
    pair.server.endpoint.close_all(0x100, pair.now)
    pair.run(1)
    assert [c.code for side in (pair.client, second) for c in side.seen(CarrierClosed)] == [0x100, 0x100]
    assert pair.server.endpoint.connections == 0
    assert pair.server.endpoint.next_timeout() == NEVER


def test_a_close_that_got_lost_is_said_again():
    pair = Pair()
    carrier, far, _ = pair.tunnel()
    pair.lose = lambda datagram, source: source == SERVER
    far.close(0x100)
    pair.run(0.1)
    assert not pair.client.seen(CarrierClosed)
    pair.lose = lambda datagram, source: False
    carrier.ping()
    pair.run(0.1)
    [closed] = pair.client.seen(CarrierClosed)
    assert (closed.by_peer, closed.code) == (True, 0x100)


def test_closed_connections_are_not_held_in_memory():
    pair = Pair(server=server_settings(handshake_rate=1000.0))
    for n in range(20):
        side = pair.add(address=("198.51.100.20", 1000 + n))
        pair.connect(side).close(0x100)
        pair.run(1)
        pair.clients.remove(side)
    pair.server.events.clear()
    assert pair.server.endpoint.connections == 1  # that of the pair
    del side
    gc.collect()
    assert sum(isinstance(thing, Connection) for thing in gc.get_objects()) <= 4


# -- time and order --


def test_nothing_is_polled():
    pair = Pair()
    pair.tunnel()
    pair.run(2)
    before = len(pair.server.sent) + len(pair.client.sent)
    wakes = 0
    end = pair.now + 20
    while (at := pair.next_event()) <= end:
        pair.now = max(pair.now, at)
        pair.step()
        wakes += 1
    assert wakes < 10
    assert len(pair.server.sent) + len(pair.client.sent) == before


def test_a_batch_is_merged_and_flushed_once():
    pair = Pair()
    _, far, stream = pair.tunnel()
    pair.run(1)
    far.send_datagrams(stream, [bytes(1000)] * 8)
    batches = pair.server.endpoint.poll_transmit(pair.now)
    [(address, datagrams)] = batches
    assert address == CLIENT
    assert len(datagrams) == 8
    assert len({len(datagram) for datagram in datagrams}) == 1
    pair.client.endpoint.receive([(memoryview(b"".join(datagrams)), len(datagrams[0]), SERVER)], pair.now)
    [event] = pair.client.endpoint.poll_events()
    assert event.payloads == [bytes(1000)] * 8


def test_secrets_can_be_logged_for_a_packet_analyser():
    lines = []
    pair = Pair(server=server_settings(on_secret=lines.append))
    pair.connect()
    pair.run(1)
    labels = {line.split()[0] for line in lines}
    assert labels == {
        f"{side}_{kind}"
        for side in ("CLIENT", "SERVER")
        for kind in ("HANDSHAKE_TRAFFIC_SECRET", "TRAFFIC_SECRET_0")
    }
    assert not any(line.endswith("\n") for line in lines)


def test_secrets_are_in_no_repr():
    certificate, key, _ = identity()
    settings = ServerSettings(certificate, key, retry_key=KEY)
    mine = ClientSettings(NAME, certificate=certificate, private_key=key)
    for text in (repr(settings), repr(mine)):
        assert "PRIVATE" not in text
        assert repr(KEY) not in text


def test_no_ticket_is_given_so_there_is_no_early_data():
    rogue = Rogue(make_server(), NOW)
    rogue.exchange(10)
    assert any(isinstance(event, CarrierReady) for event in rogue.server_events)
    assert not any(type(event).__name__ == "SessionTicket" for event in rogue.events)
