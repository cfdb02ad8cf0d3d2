"""What a flood of handshakes costs, by strangers and by a real peer: each limit on its own (W1, W2)."""

from __future__ import annotations

from itertools import count

import pytest
from pair import EPOCH, Pair, device, key

from edge.proto.types import Address, BadPacket, DropReason
from edge.proto.wireguard import Device, Identity, noise, tai64n
from edge.proto.wireguard.admission import (
    BACKLOG_LIMIT,
    MAC_CHECKS_PER_TURN,
    UNDER_LOAD_BACKLOG,
    UNDER_LOAD_TIME,
    Admission,
)
from edge.proto.wireguard.cookie import append_macs, open_cookie_reply_untrusted

INITIATION, RESPONSE = 1, 2
SOURCE: Address = ("198.51.100.7", 4000)
POP = device("b").identity


def initiation(number: int, *, cookie: bytes | None = None) -> bytes:
    """The first message of peer `a`, each newer than the one before."""
    identity = Identity.from_bytes(key("a"))
    body, _ = noise.create_initiation(
        identity,
        noise.RemoteStatic(POP.public, None, identity),
        ephemeral_private=key(f"ephemeral {number}"),
        timestamp=tai64n.encode(int(EPOCH) + 1000, number),
        sender_index=number,
    )
    return append_macs(body, POP.mac1_key, cookie)


def read(message: bytes, source: Address = SOURCE) -> tuple[memoryview, int, Address]:
    return memoryview(message), len(message), source


def answers(dev: Device) -> int:
    return sum(datagram[0] == RESPONSE for _, datagrams in dev.poll_transmit() for datagram in datagrams)


@pytest.mark.parametrize(("wait", "answered"), [(0.001, 1), (0.0199, 1), (0.02, 2)])
def test_a_peer_may_begin_every_20_ms(wait: float, answered: int) -> None:
    """W2: valid, newer, from a real peer, and still one too many."""
    pop = Pair().b
    for number in (0, 1):
        pop.open([read(initiation(number))], number * wait)
    assert answers(pop) == answered
    assert pop.drops[DropReason.HANDSHAKE_RATE] == 2 - answered
    pop.open([read(initiation(2))], 1.0)
    assert answers(pop) == 1


def test_one_turn_answers_eight() -> None:
    """Between the handshakes of a reconnecting crowd the data path gets its turns."""
    pop = device("b")
    peers = [device(f"peer {n}") for n in range(20)]
    reads = []
    for peer in peers:
        pop.add_peer("p", peer.identity.public)
        peer.initiate(peer.add_peer("b", POP.public, endpoint=Pair.B), 0.0)
        ((_, (message,)),) = peer.poll_transmit()
        reads.append(read(message))
    pop.open(reads, 0.0)
    turns = [answers(pop)]
    while pop.poll_timeout().at < 0:
        pop.handle_timeout(0.0)
        turns.append(answers(pop))
    assert turns == [8, 8, 4]
    assert not pop.drops


def admission() -> Admission:
    return Admission(POP, rng=lambda size: bytes([7] * size), now=0.0)


def test_a_flood_is_not_even_hashed_beyond_a_number_per_turn() -> None:
    """W1."""
    gate = admission()
    garbage = bytes(148)
    reasons = []
    for _ in range(MAC_CHECKS_PER_TURN + 5):
        with pytest.raises(BadPacket) as caught:
            gate.admit(INITIATION, garbage, SOURCE, 0.0)
        reasons.append(caught.value.reason)
    assert reasons == [DropReason.BAD_MAC1] * MAC_CHECKS_PER_TURN + [DropReason.HANDSHAKE_RATE] * 5
    gate.new_turn()
    assert gate.admit(INITIATION, initiation(1), SOURCE, 0.0) is None


def test_load_begins_with_the_backlog_and_ends_after_a_second() -> None:
    gate = admission()
    message = initiation(1)
    for _ in range(UNDER_LOAD_BACKLOG):
        assert gate.admit(INITIATION, message, SOURCE, 0.0) is None
    assert not gate.under_load(0.0)
    assert gate.admit(INITIATION, message, SOURCE, 0.0) is not None  # a cookie reply
    assert len(gate.backlog) == UNDER_LOAD_BACKLOG
    for _ in range(UNDER_LOAD_BACKLOG):
        gate.take()
    assert gate.admit(INITIATION, message, SOURCE, UNDER_LOAD_TIME - 0.01) is not None
    assert gate.admit(INITIATION, message, SOURCE, UNDER_LOAD_TIME) is None


def with_cookie(gate: Admission, source: Address, numbers: count) -> bytes:  # type: ignore[type-arg]
    first = initiation(next(numbers))
    reply = gate.admit(INITIATION, first, source, 0.0)
    assert reply is not None
    return initiation(
        next(numbers), cookie=open_cookie_reply_untrusted(reply, POP.cookie_key, first[-32:-16])
    )


def test_under_load_a_proven_source_has_a_burst_of_five() -> None:
    """W2: mac2 proves the address; how often it may come is a question of its own."""
    gate = admission()
    gate.demand_cookies(60.0)
    numbers = count(1)
    message = with_cookie(gate, SOURCE, numbers)
    for _ in range(5):
        assert gate.admit(INITIATION, message, SOURCE, 0.0) is None
    with pytest.raises(BadPacket) as caught:
        gate.admit(INITIATION, message, SOURCE, 0.0)
    assert caught.value.reason is DropReason.HANDSHAKE_RATE
    other: Address = ("198.51.100.8", 4000)
    assert gate.admit(INITIATION, with_cookie(gate, other, numbers), other, 0.0) is None
    assert gate.admit(INITIATION, message, SOURCE, 0.05) is None


def test_the_backlog_is_capped_whatever_the_senders_prove() -> None:
    gate = admission()
    gate.demand_cookies(60.0)
    numbers = count(1)
    refused = []
    for n in range(BACKLOG_LIMIT // 5 + 3):
        source: Address = (f"10.0.{n >> 8}.{n & 255}", 4000)
        gate.new_turn()
        message = with_cookie(gate, source, numbers)
        for _ in range(5):
            try:
                gate.admit(INITIATION, message, source, 0.0)
            except BadPacket as bad:
                refused.append(bad.reason)
    assert len(gate.backlog) == BACKLOG_LIMIT
    assert refused == [DropReason.HANDSHAKE_QUEUE_FULL] * ((BACKLOG_LIMIT // 5 + 3) * 5 - BACKLOG_LIMIT)
