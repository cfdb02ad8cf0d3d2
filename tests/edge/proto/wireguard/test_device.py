from __future__ import annotations

import itertools
import random

import pytest
from pair import EPOCH, Pair, device, key

from edge.proto.types import NEVER, DropReason
from edge.proto.wireguard import (
    EndpointChanged,
    HandshakeCompleted,
    HandshakeGivenUp,
    TimestampAdvanced,
    TimestampClock,
)
from edge.proto.wireguard.device import STAGED_TOTAL_LIMIT
from edge.proto.wireguard.timers import (
    COOKIE_SECRET_TIME,
    ERASE_AFTER_TIME,
    KEEPALIVE_TIMEOUT,
    MAX_ATTEMPTS,
    MAX_TIMER_JITTER,
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    REKEY_ATTEMPT_TIME,
    REKEY_TIMEOUT,
    SILENCE_TIMEOUT,
)

INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4


def test_a_packet_waits_for_the_handshake_and_both_directions_work() -> None:
    pair = Pair()
    pair.send("a", b"first", b"second")
    assert pair.a.staged == 2
    pair.drive(1)
    assert [p[:6].rstrip(b"\0") for p in pair.packets["b"]] == [b"first", b"second"]
    assert pair.a.staged == 0
    pair.send("b", b"answer")
    pair.drive(2)
    assert pair.packets["a"] == [b"answer" + bytes(10)]


def test_packets_are_padded_to_16_bytes_and_empty_ones_are_keepalives() -> None:
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    pair.send("a", bytes(1), bytes(16), bytes(17))
    assert [len(d) - 32 for d in pair.on_wire("a", TRANSPORT)] == [16, 16, 32]


def test_the_initiator_confirms_the_key_even_when_it_has_nothing_to_say() -> None:
    pair = Pair()
    pair.connect()
    assert [len(d) for d in pair.on_wire("a", TRANSPORT)] == [32]
    assert any(isinstance(e, HandshakeCompleted) and not e.initiator for e in pair.events["b"])


def test_the_responder_does_not_send_with_a_key_that_nobody_confirmed() -> None:
    pair = Pair(b_knows_a=True)
    pair.filter = lambda sender, datagram: datagram[0] != TRANSPORT
    pair.initiate("a")
    pair.drive(1)
    assert not pair.to_a.is_up(pair.now)
    pair.send("b", b"too early")
    assert pair.on_wire("b", TRANSPORT) == []
    assert pair.b.staged == 1


@pytest.mark.parametrize("psk_of_b", [key("psk"), key("other"), None])
def test_a_preshared_key_must_match(psk_of_b: bytes | None) -> None:
    pair = Pair(psk=key("psk"))
    pair.b.remove_peer(pair.a.identity.public)
    pair.to_a = pair.b.add_peer("a", pair.a.identity.public, psk=psk_of_b)
    pair.send("a", b"secret")
    pair.drive(3)
    assert pair.to_b.is_up(pair.now) is (psk_of_b == key("psk"))
    assert pair.a.drops[DropReason.HANDSHAKE_FAILED] == (0 if psk_of_b == key("psk") else 1)


@pytest.mark.parametrize("size", [0, 1, 31])
def test_short_datagrams_are_dropped(size: int) -> None:
    pair = Pair()
    pair.inject("b", b"\x04\0\0\0" + bytes(27) if size == 31 else bytes(size), Pair.A)
    assert pair.b.drops == ({DropReason.MALFORMED: 1} if size else {})


@pytest.mark.parametrize("merged", [False, True])
def test_what_comes_alone_is_opened_as_what_comes_merged(merged: bool) -> None:
    pair = Pair()
    pair.connect()
    payloads = [bytes([n]) * 64 for n in range(4)]
    pair.a.seal(pair.to_b, [bytearray(p) for p in payloads], pair.now)
    ((_, good),) = pair.a.poll_transmit()
    damaged = good[1][:-1] + bytes([good[1][-1] ^ 1])
    unknown = good[1][:4] + bytes(4) + good[1][8:]
    worn_out = good[1][:8] + b"\xff" * 8 + good[1][16:]
    other = b"\x05" + good[1][1:]
    datagrams = [good[0], damaged, good[0], unknown, good[3], worn_out, other, good[2]]
    size = len(good[0])
    blobs = [b"".join(datagrams)] if merged else datagrams
    before = pair.to_a.packets_in, pair.to_a.bytes_in, pair.b.datagrams_in
    runs = pair.b.open([(memoryview(blob), size, Pair.A) for blob in blobs], pair.now)
    assert [bytes(packet) for _, packets in runs for packet in packets] == [payloads[n] for n in (0, 3, 2)]
    assert pair.b.drops == {
        DropReason.DECRYPT_FAILED: 1,
        DropReason.REPLAYED: 1,
        DropReason.UNKNOWN_SESSION: 1,
        DropReason.SESSION_EXPIRED: 1,
        DropReason.MALFORMED: 1,
    }
    after = pair.to_a.packets_in, pair.to_a.bytes_in, pair.b.datagrams_in
    assert [one - other for one, other in zip(after, before, strict=True)] == [3, 3 * 64, 8]


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m[:147],
        lambda m: m + b"\0",
        lambda m: b"\0" + m[1:],
        lambda m: b"\x05" + m[1:],
        lambda m: b"\xff" + m[1:],
        lambda m: b"\x01\x01" + m[2:],
        lambda m: b"\x02" + m[1:],
        lambda m: b"\x03" + m[1:],
    ],
)
def test_wrong_types_reserved_bytes_and_lengths_are_dropped(make) -> None:
    """W8. And a good one sent next still passes."""
    pair = Pair()
    pair.initiate("a")
    good = pair.on_wire("a", INITIATION)[0]
    pair.inject("b", make(good), Pair.A)
    assert pair.b.drops == {DropReason.MALFORMED: 1}
    pair.drive(1)
    assert pair.to_a.is_up(pair.now)


def test_an_initiation_with_a_wrong_mac1_costs_no_more_than_a_hash() -> None:
    pair = Pair()
    pair.initiate("a")
    message = bytearray(pair.on_wire("a", INITIATION)[0])
    message[-20] ^= 1
    pair.inject("b", bytes(message), Pair.A)
    assert pair.b.drops == {DropReason.BAD_MAC1: 1}


def test_an_unknown_peer_is_dropped() -> None:
    pair = Pair()
    pair.b.remove_peer(pair.a.identity.public)
    pair.initiate("a")
    pair.drive(1)
    assert pair.b.drops == {DropReason.UNKNOWN_PEER: 1}
    assert pair.on_wire("b", RESPONSE) == []


def test_a_replayed_initiation_is_dropped_even_by_a_new_device_that_kept_the_timestamp() -> None:
    """W4."""
    pair = Pair()
    pair.connect()
    (captured,) = pair.on_wire("a", INITIATION)
    pair.now += 60
    pair.inject("b", captured, Pair.A)
    assert pair.b.drops == {DropReason.HANDSHAKE_REPLAYED: 1}
    assert any(isinstance(e, TimestampAdvanced) for e in pair.events["b"])

    restarted = device("b", seed=2)
    restarted.add_peer("a", pair.a.identity.public, timestamp=pair.to_a.timestamp)
    restarted.open([(memoryview(captured), len(captured), Pair.A)], 0.0)
    assert restarted.drops == {DropReason.HANDSHAKE_REPLAYED: 1}
    assert restarted.poll_transmit() == []


def test_initiations_of_one_peer_are_spaced() -> None:
    """W2: a peer with a valid key gets 50 a second at most."""
    pair = Pair()
    answered = 0
    for n in range(100):
        clock = TimestampClock(EPOCH)
        clock.stamp(n / 1000)  # each its own time, all valid and increasing
        other = device("a", seed=n + 10, clock=clock)
        tunnel = other.add_peer("b", pair.b.identity.public, endpoint=Pair.B)
        other.initiate(tunnel, n / 1000 + 1e-9 * n)
        ((_, (message,)),) = other.poll_transmit()
        pair.b.open([(memoryview(message), 148, Pair.A)], n / 1000)
        answered += len(pair.b.poll_transmit())
    assert answered + pair.b.drops.total() == 100
    assert 3 <= answered <= 6


def test_transport_replays_and_reordering() -> None:
    """W5."""
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    pair.send("a", *[bytes([n]) * 16 for n in range(5)])
    datagrams = pair.on_wire("a", TRANSPORT)
    pair._in_flight.clear()
    for n in (3, 0, 4, 3, 1, 0, 2, 2):
        pair.inject("b", datagrams[n], Pair.A)
    assert [p[0] for p in pair.packets["b"]] == [3, 0, 4, 1, 2]
    assert pair.b.drops == {DropReason.REPLAYED: 3}


def test_a_tampered_packet_is_dropped_and_moves_nothing() -> None:
    """W9: garbage from elsewhere with a right index changes neither the endpoint nor the window."""
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    pair.send("a", b"x" * 16)
    (good,) = pair.on_wire("a", TRANSPORT)
    pair._in_flight.clear()
    forged = good[:8] + (5000).to_bytes(8, "little") + good[16:]
    pair.inject("b", forged, ("203.0.113.9", 9))
    assert pair.b.drops == {DropReason.DECRYPT_FAILED: 1}
    assert pair.to_a.endpoint == Pair.A
    pair.inject("b", good, Pair.A)
    assert len(pair.packets["b"]) == 1


def test_roaming_follows_the_first_authenticated_packet() -> None:
    pair = Pair()
    pair.connect()
    moved = ("198.51.100.7", 7777)
    pair.move_a(moved)
    pair.send("a", b"here I am now")
    pair.drive(pair.now + 1)
    assert pair.to_a.endpoint == moved
    assert EndpointChanged(pair.to_a, Pair.A) in pair.events["b"]
    pair.send("b", b"found you")
    pair.drive(pair.now + 1)
    assert pair.packets["a"][-1].startswith(b"found you")


def test_who_has_moved_is_reached_at_once_without_a_word_of_its_own() -> None:
    pair = Pair()
    pair.connect()
    pair.drive(60)
    pair.wire.clear()
    moved = ("198.51.100.7", 7777)
    pair.move_a(moved)
    pair.announce()
    pair.drive(pair.now + 1)
    assert pair.to_a.endpoint == moved
    pair.send("b", b"a call")
    pair.drive(pair.now + 30)
    assert len(pair.packets["a"]) == 1
    assert pair.on_wire("a", INITIATION) == []  # it has heard the peer: nothing is in doubt


def test_an_announcement_that_is_lost_is_followed_by_a_handshake() -> None:
    pair = Pair()
    pair.connect()
    pair.drive(60)
    moved = ("198.51.100.7", 7777)
    pair.move_a(moved)
    pair.wire.clear()
    pair.filter = lambda sender, datagram: False
    pair.announce()
    pair.drive(pair.now + REKEY_TIMEOUT + 1)
    assert pair.to_a.endpoint == Pair.A
    pair.filter = lambda sender, datagram: True
    pair.drive(pair.now + REKEY_TIMEOUT + MAX_TIMER_JITTER)
    assert pair.to_a.endpoint == moved and pair.to_a.handshakes == 2


def test_who_announces_itself_without_keys_begins_a_handshake_and_never_two_in_a_row() -> None:
    pair = Pair()
    for _ in range(100):
        pair.announce()
    assert [len(pair.on_wire("a", kind)) for kind in (INITIATION, TRANSPORT)] == [1, 0]
    pair.drive(REKEY_TIMEOUT - 1)
    assert pair.to_a.is_up(pair.now)
    gone = Pair()
    gone.filter = lambda sender, datagram: False
    gone.initiate("a")
    gone.drive(REKEY_ATTEMPT_TIME + 60)
    assert gone.a.poll_timeout().at == NEVER  # it has given up
    gone.filter = lambda sender, datagram: True
    gone.announce()
    gone.drive(gone.now + 1)
    assert gone.to_a.is_up(gone.now)


def test_a_first_packet_from_a_new_address_is_a_move_even_if_packets_wait_for_it() -> None:
    """What the owner is not told of it cannot keep over a restart."""
    pair = Pair(b_knows_a=True)
    pair.filter = lambda sender, datagram: datagram[0] != TRANSPORT
    pair.initiate("a")
    pair.drive(1)
    pair.send("b", b"waits for the first word")
    pair.filter = lambda sender, datagram: True
    moved = ("198.51.100.7", 7777)
    pair.move_a(moved)
    pair.send("a", b"from elsewhere")
    pair.drive(2)
    assert pair.to_a.endpoint == moved
    assert EndpointChanged(pair.to_a, Pair.A) in pair.events["b"]
    assert pair.packets["a"][0].startswith(b"waits")


def test_a_late_packet_of_an_old_session_renews_nothing() -> None:
    """As in the kernel, where only the current key is looked at; else a held packet buys a handshake."""
    pair = Pair(latency=0.001)
    pair.connect()
    pair.wire.clear()
    pair.send("b", b"held on the way", b"not held")
    del pair._in_flight[0]
    held, _ = pair.on_wire("b", TRANSPORT)
    pair.drive(REKEY_AFTER_TIME + 30)
    pair.send("a", b"renews")
    pair.drive(REJECT_AFTER_TIME - 5)
    assert pair.to_b.handshakes == 2
    pair.inject("a", held, Pair.B)
    pair.drive(pair.now + 1)
    assert pair.packets["a"][-1] == b"held on the way" + bytes(1)
    assert pair.to_b.handshakes_initiated == 2


def test_an_initiation_of_the_peer_ends_the_silence() -> None:
    """As in the kernel: it is authenticated, and a session is on its way; a second handshake is not wanted."""
    pair = Pair(b_knows_a=True)
    pair.connect()
    pair.filter = lambda sender, datagram: datagram[0] == INITIATION
    pair.wire.clear()
    start = pair.now
    pair.send("b", b"lost")
    pair.drive(start + SILENCE_TIMEOUT - 1)
    pair.initiate("a")
    pair.drive(start + SILENCE_TIMEOUT + 2)
    assert pair.on_wire("b", INITIATION) == []


def test_the_initiator_rekeys_after_two_minutes_without_losing_a_packet() -> None:
    pair = Pair()
    pair.connect()
    for _ in range(int(REKEY_AFTER_TIME * 3)):
        pair.send("a", b"x" * 16)
        pair.send("b", b"y" * 16)
        pair.drive(pair.now + 1)
    assert pair.to_b.handshakes == pair.to_a.handshakes == 3
    begun = [at for at, _, datagram in pair.wire if datagram[0] == INITIATION]
    assert all(
        REKEY_AFTER_TIME <= gap <= REKEY_AFTER_TIME + 2
        for gap in (b - a for a, b in itertools.pairwise(begun))
    )
    assert len(pair.packets["b"]) == len(pair.packets["a"]) == REKEY_AFTER_TIME * 3
    assert not pair.a.drops
    assert not pair.b.drops


def test_a_receiving_initiator_rekeys_before_the_key_dies() -> None:
    pair = Pair()
    pair.connect()
    while pair.now < REJECT_AFTER_TIME:
        pair.send("b", b"one way only")
        pair.drive(pair.now + 2)
    assert pair.to_b.handshakes == 2
    assert not pair.a.drops


def test_a_key_is_not_used_after_its_time_on_either_side() -> None:
    """W7."""
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    pair.send("a", b"captured")
    (late,) = pair.on_wire("a", TRANSPORT)
    pair._in_flight.clear()
    pair.filter = lambda sender, datagram: False
    pair.drive(REJECT_AFTER_TIME + 2)
    pair.wire.clear()
    pair.filter = lambda sender, datagram: True
    pair.inject("b", late, Pair.A)
    assert pair.b.drops[DropReason.SESSION_EXPIRED] == 1
    pair.send("b", b"must not leave under the old key")
    assert pair.on_wire("b", TRANSPORT) == []


def test_counters_near_their_end_rekey_and_then_refuse() -> None:
    """W7, honestly reached by setting the counter of the session where 2^60 packets would have put it."""
    pair = Pair()
    pair.connect()
    session = pair.to_b.current
    assert session is not None
    session.counter = REKEY_AFTER_MESSAGES
    pair.drive(REKEY_TIMEOUT + 1)
    pair.send("a", b"x")
    pair.drive(pair.now + 1)
    assert pair.to_b.handshakes == 2
    session = pair.to_b.current
    assert session is not None
    session.counter = REJECT_AFTER_MESSAGES
    pair.wire.clear()
    pair.send("a", b"y")
    assert pair.on_wire("a", TRANSPORT) == []
    assert pair.a.staged == 1


def test_a_counter_past_the_limit_is_not_even_opened() -> None:
    """W7: made with the real key, which no honest peer uses so often."""
    pair = Pair()
    pair.connect()
    session = pair.to_b.current
    assert session is not None
    for counter, reason in (
        (REJECT_AFTER_MESSAGES, DropReason.SESSION_EXPIRED),
        (REJECT_AFTER_MESSAGES - 1, None),
    ):
        number = counter.to_bytes(8, "little")
        sealed = session.encrypt(bytes(4) + number, bytes(16), None)
        header = b"\x04\0\0\0" + session.remote_index.to_bytes(4, "little") + number
        pair.inject("b", header + sealed, Pair.A)
        assert pair.b.drops == {DropReason.SESSION_EXPIRED: 1}
        assert len(pair.packets["b"]) == (reason is None)


@pytest.mark.parametrize("why", ["time", "counter"])
def test_a_keepalive_does_not_use_a_dead_key_either(why: str) -> None:
    """W7: what a receiver owes within 10 s may fall due when its key is over; then a handshake is sent instead."""
    pair = Pair(b_knows_a=True)
    pair.connect()
    pair.filter = lambda sender, datagram: datagram[0] != INITIATION
    if why == "time":
        pair.drive(REJECT_AFTER_TIME - 1)
    pair.send("a", b"answer this")
    pair.drive(pair.now + 0.5)
    session = pair.to_a.current
    assert session is not None
    if why == "counter":
        session.counter = REJECT_AFTER_MESSAGES
    pair.wire.clear()
    pair.filter = lambda sender, datagram: sender == "b"
    pair.drive(pair.now + KEEPALIVE_TIMEOUT + 1)
    assert pair.on_wire("b", TRANSPORT) == []
    assert len(pair.on_wire("b", INITIATION)) >= 1


def test_keys_are_erased_three_lifetimes_after_the_last_handshake() -> None:
    pair = Pair()
    pair.connect()
    pair.filter = lambda sender, datagram: False
    pair.drive(ERASE_AFTER_TIME - 1)
    assert pair.to_b.sessions()
    assert pair.to_a.sessions()
    pair.drive(ERASE_AFTER_TIME + 2)
    assert pair.to_b.sessions() == pair.to_a.sessions() == []
    assert pair.to_b.pending is None


def test_the_ephemeral_of_a_handshake_under_way_is_erased_with_the_keys() -> None:
    """As in the kernel: what the next attempt makes is younger than what anybody could have taken."""
    pair = Pair()
    pair.connect()
    erased = pair.to_b.timers.erase_at
    pair.filter = lambda sender, datagram: False
    pair.drive(erased - 1)
    pair.initiate("a")
    assert pair.to_b.pending is not None
    pair.drive(erased)
    assert pair.to_b.pending is None
    pair.filter = lambda sender, datagram: True
    pair.drive(erased + REKEY_TIMEOUT)
    assert pair.to_b.is_up(pair.now)


def test_a_receiver_with_nothing_to_say_answers_within_the_keepalive_time() -> None:
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    pair.send("a", b"hello")
    pair.drive(pair.now + KEEPALIVE_TIMEOUT + 0.1)
    assert [len(d) for d in pair.on_wire("b", TRANSPORT)] == [32]
    pair.drive(pair.now + 60)
    assert len(pair.on_wire("b", TRANSPORT)) == 1  # keepalives are not answered by keepalives
    assert pair.to_b.handshakes == 1


def test_silence_after_sending_starts_a_new_handshake() -> None:
    pair = Pair()
    pair.connect()
    pair.filter = lambda sender, datagram: sender == "a"
    pair.wire.clear()
    start = pair.now
    pair.send("a", b"anybody there?")
    pair.drive(start + SILENCE_TIMEOUT - 0.1)
    assert pair.on_wire("a", INITIATION) == []
    pair.drive(start + SILENCE_TIMEOUT + 0.1)
    assert len(pair.on_wire("a", INITIATION)) == 1


def test_an_unanswered_handshake_is_repeated_with_jitter_and_given_up() -> None:
    pair = Pair()
    pair.filter = lambda sender, datagram: sender == "a"
    pair.send("a", b"into the void")
    pair.b.remove_peer(pair.a.identity.public)
    pair.drive(REKEY_ATTEMPT_TIME * 2)
    times = [t for t, s, d in pair.wire if d[0] == INITIATION]
    assert len(times) == MAX_ATTEMPTS
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert all(REKEY_TIMEOUT <= gap <= REKEY_TIMEOUT + MAX_TIMER_JITTER for gap in gaps)
    assert len(set(gaps)) > 1
    assert HandshakeGivenUp(pair.to_b, 1) in pair.events["a"]
    assert pair.a.staged == 0
    assert pair.to_b.staged_dropped == 1
    assert pair.a.poll_timeout().at == NEVER


def test_a_persistent_keepalive_brings_the_tunnel_up_and_tries_again_after_giving_up() -> None:
    pair = Pair(keepalive=25.0)
    pair.filter = lambda sender, datagram: pair.now > 200
    pair.initiate("a")
    pair.drive(215)
    assert pair.to_b.is_up(pair.now)
    pair.wire.clear()
    pair.drive(pair.now + 75)
    assert len(pair.on_wire("a", TRANSPORT)) == 3


def test_staged_packets_are_capped_and_the_oldest_go() -> None:
    pair = Pair()
    pair.filter = lambda sender, datagram: False
    for n in range(200):
        pair.send("a", n.to_bytes(2, "big"))
    assert pair.a.staged == 128
    assert pair.to_b.staged_dropped == 72
    assert pair.to_b.staged[0][:2] == (72).to_bytes(2, "big")


def test_a_packet_for_a_peer_without_address_is_dropped_at_once() -> None:
    pair = Pair()
    pair.send("b", b"where are you?")
    assert pair.b.staged == 0
    assert pair.to_a.staged_dropped == 1


def test_both_begin_at_the_same_moment_and_end_with_working_sessions() -> None:
    """W10."""
    pair = Pair(b_knows_a=True)
    pair.send("a", b"from a")
    pair.send("b", b"from b")
    pair.drive(2)
    for _ in range(3):
        pair.send("a", b"again")
        pair.send("b", b"again")
        pair.drive(pair.now + 1)
    assert len(pair.packets["a"]) == len(pair.packets["b"]) == 4


def test_a_lost_response_and_an_answer_to_an_old_initiation() -> None:
    """W10: the late response no longer fits; the repeated handshake does."""
    pair = Pair()
    held: list[bytes] = []

    def lose_first_response(sender: str, datagram: bytes) -> bool:
        if datagram[0] == RESPONSE and not held:
            held.append(datagram)
            return False
        return True

    pair.filter = lose_first_response
    pair.send("a", b"x")
    pair.drive(REKEY_TIMEOUT + 1)
    assert pair.to_b.is_up(pair.now)
    pair.inject("a", held[0], Pair.B)
    assert pair.a.drops == {DropReason.HANDSHAKE_FAILED: 1}
    pair.send("a", b"y")
    pair.drive(pair.now + 1)
    assert len(pair.packets["b"]) == 2


@pytest.mark.parametrize("seed", range(20))
def test_half_of_all_datagrams_lost_still_connects(seed: int) -> None:
    """W10: one session and no livelock."""
    pair = Pair(seed=seed, keepalive=5.0)
    rng = random.Random(seed)
    pair.filter = lambda sender, datagram: rng.random() > 0.5
    pair.initiate("a")
    pair.drive(240)
    assert pair.to_b.handshakes >= 1
    pair.filter = lambda sender, datagram: True
    pair.drive(pair.now + 30)
    pair.send("a", b"through")
    pair.drive(pair.now + 20)
    assert pair.packets["b"][-1].startswith(b"through")


def test_under_load_a_cookie_is_asked_for_and_the_peer_gives_it() -> None:
    """W1, W3: a flood of initiations with valid mac1 gets cookies, a real peer still gets in."""
    pair = Pair()
    flood = []
    for n in range(200):
        stranger = device(f"stranger{n}")
        tunnel = stranger.add_peer("b", pair.b.identity.public, endpoint=Pair.B)
        stranger.initiate(tunnel, 0.0)
        ((_, (message,)),) = stranger.poll_transmit()
        flood.append((memoryview(message), 148, ("203.0.113.1", 1000 + n)))
    pair.b.open(flood, 0.0)
    assert pair.b.under_load(0.0)
    sent = pair.b.poll_transmit()
    assert pair.b.cookies_sent == 64  # per turn; the rest is not worth an answer
    assert sum(len(d) for _, ds in sent for d in ds) < 200 * 148  # never amplifies

    pair.initiate("a")
    pair.inject("b", pair.on_wire("a", INITIATION)[0], Pair.A)
    assert len(pair.on_wire("b", COOKIE_REPLY)) == 1
    pair._in_flight = [f for f in pair._in_flight if f[1] == "b"]
    pair.drive(0.5)
    assert pair.to_b.cookie
    # Keep it under load until the peer tries again with its cookie.
    pair.b.demand_cookies(60.0)
    pair.drive(8.0)
    assert pair.to_b.is_up(pair.now)


def test_a_forged_cookie_reply_is_dropped() -> None:
    pair = Pair()
    pair.initiate("a")
    index = pair.on_wire("a", INITIATION)[0][4:8]
    pair.inject("a", b"\x03\0\0\0" + index + bytes(56), Pair.B)
    pair.inject("a", b"\x03\0\0\0" + bytes(60), Pair.B)
    assert pair.a.drops[DropReason.BAD_COOKIE] == 2
    assert not pair.to_b.cookie


def test_a_flood_does_not_starve_the_data_path_nor_grow_without_bound() -> None:
    pair = Pair()
    pair.connect()
    message = pair.on_wire("a", INITIATION)[0]
    for _ in range(50):
        pair.b.open([(memoryview(message), 148, Pair.A)] * 200, pair.now)
    pair.b.poll_transmit()
    pair.send("a", b"voice")
    pair.drive(pair.now + 5)
    assert pair.packets["b"][-1].startswith(b"voice")


def test_removing_a_peer_erases_its_session() -> None:
    pair = Pair()
    pair.connect()
    pair.b.remove_peer(pair.a.identity.public)
    pair.send("a", b"x")
    pair.drive(pair.now + 1)
    assert pair.b.drops == {DropReason.UNKNOWN_SESSION: 1}


@pytest.mark.parametrize("public", [bytes(32), (1).to_bytes(32, "little"), bytes(31)])
def test_unusable_public_keys_are_refused(public: bytes) -> None:
    """W6."""
    with pytest.raises(ValueError, match="public key"):
        device("a").add_peer("x", public)


def test_one_peer_twice_or_itself_is_refused() -> None:
    dev = device("a")
    other = device("b").identity.public
    dev.add_peer("b", other)
    with pytest.raises(ValueError, match="already"):
        dev.add_peer("again", other)
    with pytest.raises(ValueError, match="own peer"):
        dev.add_peer("me", dev.identity.public)


def test_random_garbage_never_raises() -> None:
    pair = Pair()
    pair.connect()
    rng = random.Random(5)
    good = [d for _, _, d in pair.wire]
    for _ in range(3000):
        base = bytearray(rng.choice([*good, rng.randbytes(rng.randrange(200))]))
        for _ in range(rng.randrange(4)):
            if base:
                base[rng.randrange(len(base))] = rng.randrange(256)
        pair.inject(rng.choice("ab"), bytes(base), (f"203.0.113.{rng.randrange(255)}", 5))
    pair.now += 1
    pair.send("a", b"still here")
    pair.drive(pair.now + 1)
    assert pair.packets["b"][-1].startswith(b"still here")


def test_several_datagrams_in_one_read_are_separated_by_their_segment_size() -> None:
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    pair.send("a", b"1" * 32, b"2" * 32, b"3" * 16)
    pair._in_flight.clear()
    blob = b"".join(pair.on_wire("a", TRANSPORT))
    ((tunnel, packets),) = pair.b.open([(memoryview(blob), 64, Pair.A)], pair.now)
    assert tunnel is pair.to_a
    assert [bytes(p) for p in packets] == [b"1" * 32, b"2" * 32, b"3" * 16]


def test_forged_responses_are_limited_and_do_not_starve() -> None:
    """A peer knows the index of our initiation: it may try a few times, then that handshake is over."""
    pair = Pair()
    pair.filter = lambda sender, datagram: sender == "a"
    pair.send("a", b"x")
    (first,) = pair.on_wire("a", INITIATION)
    from edge.proto.wireguard.cookie import append_macs

    forged = append_macs(
        b"\x02\0\0\0" + bytes(4) + first[4:8] + bytes([9]) + bytes(47), pair.a.identity.mac1_key, None
    )
    for _ in range(50):
        pair.inject("a", forged, Pair.B)
    assert pair.to_b.pending is None
    pair.filter = lambda sender, datagram: True
    pair.drive(REKEY_TIMEOUT + 2)
    assert pair.to_b.is_up(pair.now)


def test_a_session_that_the_peer_began_ends_our_own_attempts() -> None:
    pair = Pair(b_knows_a=True)
    pair.filter = lambda sender, datagram: not (sender == "b" and datagram[0] == INITIATION)
    pair.send("b", b"from b")  # its initiation is lost
    pair.drive(1)
    pair.send("a", b"from a")
    pair.drive(2)
    pair.filter = lambda sender, datagram: True
    pair.wire.clear()
    pair.drive(80)
    assert pair.on_wire("b", INITIATION) == []
    assert not any(isinstance(e, HandshakeGivenUp) for e in pair.events["b"])
    assert pair.packets["a"][0].startswith(b"from b")


def test_a_simultaneous_start_costs_no_packet_at_later_rekeys() -> None:
    """W12: both ends began at once; afterwards one of them is the initiator, not both."""
    pair = Pair(b_knows_a=True, latency=0.05)
    pair.send("a", b"x")
    pair.send("b", b"y")
    pair.drive(2)
    sent = 0
    while pair.now < 400:
        pair.send("a", bytes(16))
        pair.send("b", bytes(16))
        sent += 1
        pair.drive(pair.now + 0.1)
    pair.drive(pair.now + 1)
    assert len(pair.packets["a"]) == len(pair.packets["b"]) == sent + 1


def test_padding_does_not_exceed_the_mtu() -> None:
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    pair.send("a", bytes(1419), bytes(1420), bytes(1404))
    assert [len(d) - 32 for d in pair.on_wire("a", TRANSPORT)] == [1420, 1420, 1408]


def test_a_cookie_demanded_for_a_response_is_accepted() -> None:
    """The initiator is under load: our response has to come again with its cookie, after its next initiation."""
    pair = Pair()
    pair.a.demand_cookies(60.0)
    pair.initiate("a")
    pair.drive(20)
    assert pair.to_a.cookie
    assert pair.to_b.is_up(pair.now)


def test_no_two_initiations_within_the_rekey_timeout() -> None:
    """W10: whoever asks for them."""
    pair = Pair()
    pair.filter = lambda sender, datagram: False
    sent: list[float] = []
    for _ in range(40):
        before = pair.a.datagrams_out
        pair.initiate("a")
        pair.send("a", b"and data waits")
        sent += [pair.now] * (pair.a.datagrams_out - before)
        pair.now += 0.25
    assert sent == [0.0, REKEY_TIMEOUT]


def test_data_that_comes_while_a_keepalive_is_due_gets_one_of_its_own() -> None:
    pair = Pair()
    pair.connect()
    pair.wire.clear()
    start = pair.now
    pair.send("a", b"first")
    pair.drive(start + KEEPALIVE_TIMEOUT - 1)
    pair.send("a", b"second")
    pair.drive(start + 3 * KEEPALIVE_TIMEOUT)
    times = [at for at, sender, datagram in pair.wire if sender == "b" and datagram[0] == TRANSPORT]
    assert [round(at - start) for at in times] == [10, 20]


def test_a_response_ends_the_silence() -> None:
    pair = Pair()
    pair.connect()
    pair.filter = lambda sender, datagram: len(datagram) != 48  # all data is lost
    start = pair.now
    pair.send("a", b"anybody there?")
    pair.drive(start + SILENCE_TIMEOUT - REKEY_TIMEOUT - 1)  # else the spacing of initiations hides it
    pair.initiate("a")
    pair.drive(pair.now + 1)
    assert pair.to_b.handshakes == 2
    pair.wire.clear()
    pair.drive(start + SILENCE_TIMEOUT + 1)
    assert pair.on_wire("a", INITIATION) == []


def test_traffic_postpones_a_persistent_keepalive() -> None:
    pair = Pair(keepalive=25.0)
    pair.connect()
    pair.wire.clear()
    for _ in range(8):
        pair.send("a", b"busy")
        pair.drive(pair.now + 8)
    assert all(len(datagram) > 32 for datagram in pair.on_wire("a", TRANSPORT))
    pair.drive(pair.now + 40)
    assert len(pair.on_wire("a", TRANSPORT)[-1]) == 32


@pytest.mark.parametrize(("age", "used"), [(COOKIE_SECRET_TIME - 1, True), (COOKIE_SECRET_TIME, False)])
def test_an_old_cookie_is_not_shown(age: float, used: bool) -> None:
    """W3: its giver would no longer know it, and ask again."""
    pair = Pair()
    pair.b.demand_cookies(1.0)
    pair.initiate("a")
    pair.drive(0.5)
    assert pair.to_b.cookie
    got = pair.to_b.cookie_at
    pair.filter = lambda sender, datagram: False
    pair.drive(got + age)
    pair.filter = lambda sender, datagram: True
    pair.wire.clear()
    pair.now = (
        max(pair.now, pair.to_b.last_initiation_out + REKEY_TIMEOUT) if used else pair.now + REKEY_TIMEOUT
    )
    pair.initiate("a")
    (message,) = pair.on_wire("a", INITIATION)
    assert any(message[-16:]) is used


def test_a_replayed_cookie_reply_does_not_keep_an_old_cookie_fresh() -> None:
    pair = Pair()
    pair.b.demand_cookies(60.0)
    pair.initiate("a")
    pair.drive(0.5)
    (reply,) = pair.on_wire("b", COOKIE_REPLY)
    got = pair.to_b.cookie_at
    pair.now += 1
    pair.inject("a", reply, Pair.B)
    assert pair.a.drops == {DropReason.BAD_COOKIE: 1}
    assert pair.to_b.cookie_at == got


def test_packets_that_wait_are_capped_over_all_tunnels() -> None:
    dev = device("pop")
    tunnels = [
        dev.add_peer(f"peer {n}", device(f"peer {n}").identity.public, endpoint=("192.0.2.1", 1 + n))
        for n in range(70)
    ]
    for tunnel in tunnels:
        dev.seal(tunnel, [bytearray(20) for _ in range(128)], 0.0)
    assert dev.staged == STAGED_TOTAL_LIMIT == sum(len(tunnel.staged) for tunnel in tunnels)
    assert dev.staged + sum(tunnel.staged_dropped for tunnel in tunnels) == 70 * 128
