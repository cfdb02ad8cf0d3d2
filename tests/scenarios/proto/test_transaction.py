"""The tables of RFC 3261 section 17, driven through the layer: what is on the wire when."""

import random

import pytest

from edge.proto.types import NEVER, DropReason
from scenarios.proto.sip import message_untrusted
from scenarios.proto.sip_uri import name_addr_untrusted
from scenarios.proto.transaction import LIMITS, TABLE, TIMER, TIMERS, Kind, State, Transaction
from scenarios.proto.transaction_layer import RequestIn, ResponseIn, TimedOut, TransactionLayer

US, PEER = ("192.0.2.1", 5060), ("192.0.2.2", 5060)


def request(method="INVITE", *, branch="", to_tag="", cseq=1, via="192.0.2.2:5060", call_id="c1"):
    vias = f"Via: SIP/2.0/UDP {via}{';branch=' + branch if branch else ''}\r\n"
    text = (
        f"{method} sip:us@192.0.2.1 SIP/2.0\r\n{vias}From: <sip:p@x>;tag=p\r\n"
        f"To: <sip:us@x>{';tag=' + to_tag if to_tag else ''}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\r\n"
    )
    return message_untrusted(text.encode())


class Peer:
    """The far end of one layer: collects what it sends, answers by hand."""

    def __init__(self, **options):
        self.layer = TransactionLayer(US, random.Random(1), **options)
        self.now = 0.0
        self.sent = []

    def collect(self):
        for _, data in self.layer.poll_transmit():
            self.sent.append((round(self.now, 3), message_untrusted(data)))

    def run(self, until):
        self.collect()
        while self.layer.poll_timeout() <= until:
            self.now = self.layer.poll_timeout()
            self.layer.handle_timeout(self.now)
            self.collect()
        self.now = until

    def times(self, kind=None):
        return [
            at
            for at, message in self.sent
            if kind is None or getattr(message, "status", message.method) == kind
        ]

    def start(self, method="INVITE"):
        message = request(method)
        message.vias = []
        transaction = self.layer.request(message, PEER, self.now)
        self.collect()
        return transaction

    def answer(self, transaction, status, *, tag="t"):
        reply = transaction.request.reply(status, tag=tag)
        self.layer.receive(PEER, reply.encode(), self.now)
        self.collect()

    def receive(self, message):
        self.layer.receive(PEER, message.encode(), self.now)
        self.collect()

    def accept(self, message):
        self.receive(message)
        event = self.layer.poll_event()
        assert isinstance(event, RequestIn)
        return self.layer.accept(event.request, self.now)

    def respond(self, transaction, status):
        sent = self.layer.respond(transaction, transaction.request.reply(status, tag="u"), self.now)
        self.collect()
        return sent

    def events(self):
        found = []
        while (event := self.layer.poll_event()) is not None:
            found.append(event)
        return found


def test_the_tables_are_complete():
    for (_, state), steps in TABLE.items():
        assert state is not State.TERMINATED
        assert all(step.state in State for step in steps.values())
    for (kind, state), letters in [*TIMERS.items(), *LIMITS.items()]:
        assert set(letters) <= set(TIMER)
        for letter in letters:
            assert letter in TABLE[kind, state]
    for (kind, state), steps in TABLE.items():
        assert {name for name in steps if len(name) == 1} == {
            *TIMERS.get((kind, state), ""),
            *LIMITS.get((kind, state), ""),
        }


def test_invite_is_repeated_with_doubling_intervals_for_32_seconds():
    peer = Peer()
    transaction = peer.start()
    peer.run(100)
    assert peer.times() == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert [type(event) for event in peer.events()] == [TimedOut]
    assert transaction.state is State.TERMINATED
    assert (peer.layer.open, peer.layer.poll_timeout()) == (0, NEVER)


def test_other_requests_are_repeated_up_to_every_4_seconds():
    peer = Peer()
    peer.start("OPTIONS")
    peer.run(100)
    assert peer.times() == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert [type(event) for event in peer.events()] == [TimedOut]


def test_a_provisional_response_slows_other_requests_and_stops_invite():
    peer = Peer()
    transaction = peer.start("OPTIONS")
    peer.run(0.1)
    peer.answer(transaction, 100)
    peer.run(20)
    assert peer.times() == [0.0, 0.5, 4.5, 8.5, 12.5, 16.5]
    peer = Peer()
    transaction = peer.start()
    peer.answer(transaction, 180)
    peer.run(300)
    assert peer.times() == [0.0]  # ringing may take as long as it likes
    assert transaction.state is State.PROCEEDING


def test_a_cancelled_invite_waits_no_longer_than_a_new_one():
    peer = Peer()
    transaction = peer.start()
    peer.answer(transaction, 180)
    peer.run(100)
    peer.layer.cancel(transaction, peer.now)
    peer.run(131)
    peer.answer(transaction, 180)  # still nothing final
    assert transaction.state is State.PROCEEDING
    peer.events()
    peer.run(132)
    assert transaction in [event.transaction for event in peer.events()]
    assert (peer.layer.open, peer.layer.poll_timeout()) == (0, NEVER)


def test_a_failure_is_acknowledged_each_time_and_reported_once():
    peer = Peer()
    transaction = peer.start()
    for _ in range(3):
        peer.answer(transaction, 486)
    acks = [message for _, message in peer.sent if message.method == "ACK"]
    assert len(acks) == 3
    assert acks[0].vias == transaction.request.vias  # same branch: the ACK is part of the transaction
    assert (acks[0].cseq, acks[0].to.tag, acks[0].uri) == (1, "t", transaction.request.uri)
    assert [event.response.status for event in peer.events()] == [486]
    peer.run(33)
    assert peer.layer.open == 0


def test_every_2xx_is_reported_and_none_is_acknowledged_here():
    peer = Peer()
    transaction = peer.start()
    for tag in ("a", "a", "b"):
        peer.answer(transaction, 200, tag=tag)
    assert [event.response.to.tag for event in peer.events()] == ["a", "a", "b"]
    assert peer.times("ACK") == []
    peer.run(33)
    assert peer.layer.open == 0


def test_a_response_for_someone_else_is_dropped():
    peer = Peer()
    transaction = peer.start()
    reply = transaction.request.reply(200, tag="t")
    for old, new in (
        (b"192.0.2.1:5060", b"192.0.2.3:5060"),
        (b"z9hG4bK", b"z9hG4bKx"),
        (b"INVITE", b"OPTIONS"),
    ):
        peer.layer.receive(PEER, reply.encode().replace(old, new), 0.0)
    assert peer.events() == []
    assert peer.layer.dropped[DropReason.UNKNOWN_SESSION] == 3


@pytest.mark.parametrize("branch", ["z9hG4bKabc", "", "z9hG4bK", "old-style"])
def test_a_failure_to_an_invite_is_repeated_until_its_ack(branch):
    peer = Peer()
    transaction = peer.accept(request(branch=branch))
    peer.respond(transaction, 486)
    peer.run(2.0)
    assert peer.times(486) == [0.0, 0.5, 1.5]
    peer.receive(request(branch=branch))  # a retransmission: answered, not reported
    assert peer.times(486)[-1] == 2.0
    peer.receive(request("ACK", branch=branch, to_tag="u"))
    peer.run(100)
    assert len(peer.times(486)) == 4
    assert (peer.events(), peer.layer.open) == ([], 0)


def test_a_failure_without_ack_is_given_up():
    peer = Peer()
    peer.respond(peer.accept(request(branch="z9hG4bK1")), 486)
    peer.run(100)
    assert peer.times(486) == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert [type(event) for event in peer.events()] == [TimedOut]


@pytest.mark.parametrize(
    ("side", "method", "status", "acknowledged", "seconds"),
    [
        ("client", "INVITE", 486, False, 32.0),  # D
        ("client", "INVITE", 200, False, 32.0),  # M
        ("client", "OPTIONS", 200, False, 5.0),  # K
        ("server", "INVITE", 486, False, 32.0),  # H
        ("server", "INVITE", 486, True, 5.0),  # I
        ("server", "INVITE", 200, False, 32.0),  # L
        ("server", "OPTIONS", 200, False, 32.0),  # J
    ],
)
def test_how_long_an_ended_transaction_absorbs_what_is_late(side, method, status, acknowledged, seconds):
    peer = Peer()
    if side == "client":
        peer.answer(peer.start(method), status)
    else:
        peer.respond(peer.accept(request(method, branch="z9hG4bK1")), status)
    if acknowledged:
        peer.receive(request("ACK", branch="z9hG4bK1", to_tag="u"))
    peer.run(seconds - 0.001)
    assert peer.layer.open == 1
    peer.run(seconds)
    assert (peer.layer.open, peer.layer.poll_timeout()) == (0, NEVER)


def test_a_2xx_is_left_to_its_sender_and_absorbs_the_invite():
    peer = Peer()
    transaction = peer.accept(request(branch="z9hG4bK1"))
    peer.respond(transaction, 200)
    peer.receive(request(branch="z9hG4bK1"))
    peer.run(10)
    assert peer.times(200) == [0.0]
    assert peer.respond(transaction, 200)  # the user's own repetition
    assert not peer.respond(transaction, 486)
    peer.receive(request("ACK", branch="z9hG4bK1", to_tag="u"))
    assert [event.request.method for event in peer.events()] == ["ACK"]
    peer.run(33)
    assert peer.layer.open == 0


def test_other_requests_get_the_same_answer_again_for_32_seconds():
    peer = Peer()
    transaction = peer.accept(request("OPTIONS", branch="z9hG4bK1"))
    peer.receive(request("OPTIONS", branch="z9hG4bK1"))
    assert peer.sent == []  # nothing answered yet: absorbed
    peer.respond(transaction, 200)
    peer.run(31)
    peer.receive(request("OPTIONS", branch="z9hG4bK1"))
    assert peer.times(200) == [0.0, 31.0]
    peer.run(33)
    peer.receive(request("OPTIONS", branch="z9hG4bK1"))
    assert len(peer.events()) == 1  # a new request now


def test_requests_of_other_senders_and_methods_do_not_match():
    peer = Peer()
    peer.accept(request(branch="z9hG4bK1"))
    for other in (request(branch="z9hG4bK2"), request(branch="z9hG4bK1", via="192.0.2.9:5060"),
                  request("BYE", branch="z9hG4bK1"), request(branch="z9hG4bK1", via="192.0.2.2:5061")):  # fmt: skip
        peer.receive(other)
    assert len(peer.events()) == 4


def test_cancel_names_its_invite():
    peer = Peer()
    invite = peer.accept(request(branch="z9hG4bK1"))
    assert peer.layer.cancelled(request("CANCEL", branch="z9hG4bK1")) is invite
    assert peer.layer.cancelled(request("CANCEL", branch="z9hG4bK2")) is None


def test_cancel_goes_the_way_of_its_invite():
    peer = Peer()
    invite = peer.start()
    peer.answer(invite, 180)
    peer.layer.cancel(invite, peer.now)
    peer.collect()
    cancel = peer.sent[-1][1]
    assert (cancel.method, cancel.vias, cancel.uri) == ("CANCEL", invite.request.vias, invite.request.uri)
    assert (cancel.cseq, cancel.to.tag) == (1, "")


def test_cancel_and_ack_take_the_route_of_their_invite():
    peer = Peer()
    message = request()
    message.vias, message.routes = [], [name_addr_untrusted("<sip:192.0.2.9;lr>")]
    message.max_forwards = 3
    invite = peer.layer.request(message, PEER, 0.0)
    peer.answer(invite, 180)
    peer.layer.cancel(invite, 0.0)
    peer.answer(invite, 487)
    cancel, ack = (message for _, message in peer.sent[-2:])
    assert [cancel.method, ack.method] == ["CANCEL", "ACK"]
    assert cancel.routes == ack.routes == message.routes
    assert cancel.max_forwards == ack.max_forwards == 70


def test_a_request_makes_no_state_until_it_is_accepted():
    peer = Peer()
    for number in range(100):
        peer.receive(request(branch=f"z9hG4bK{number}"))
    assert peer.layer.open == 0


def test_a_stateless_answer_has_the_same_tag_each_time():
    peer = Peer()
    for branch in ("z9hG4bK1", "z9hG4bK1", "z9hG4bK2"):
        message = request("OPTIONS", branch=branch)
        peer.receive(message)
        peer.layer.reply(message, message.reply(401))
    peer.collect()
    first, again, other = (message.to.tag for _, message in peer.sent)
    assert first == again != other
    assert len(first) == 16


def test_the_tables_have_a_cap():
    peer = Peer(capacity=10)
    accepted = [peer.accept(request(branch=f"z9hG4bK{number}")) for number in range(20)]
    assert [item is not None for item in accepted] == [True] * 10 + [False] * 10
    started = [peer.start() for _ in range(20)]
    assert sum(item.state is State.CALLING for item in started) == 10
    assert [type(event) for event in peer.events()] == [TimedOut] * 10
    assert peer.layer.open == 20
    assert peer.layer.dropped[DropReason.QUEUE_FULL] == 20


def test_responses_go_to_the_source_as_seen():
    layer = TransactionLayer(US, random.Random(1))
    plain, asking = (
        request(via="10.9.9.9:5070", branch="z9hG4bK1"),
        request(via="10.9.9.9:5070;rport", branch="z9hG4bK2"),
    )
    for message, expected in ((plain, ("203.0.113.5", 5070)), (asking, ("203.0.113.5", 4444))):
        layer.receive(("203.0.113.5", 4444), message.encode(), 0.0)
        event = layer.poll_event()
        assert isinstance(event, RequestIn)
        layer.reply(event.request, event.request.reply(404))
        assert layer.poll_transmit()[0][0] == expected


def test_garbage_is_counted_and_keepalives_are_not():
    layer = TransactionLayer(US, random.Random(1))
    for data in (b"\r\n\r\n", b"", b"junk", b"INVITE sip:a SIP/2.0\r\n\r\n"):
        layer.receive(PEER, data, 0.0)
    assert sum(layer.dropped.values()) == 2
    assert layer.poll_event() is None
    assert layer.poll_transmit() == []


def test_a_late_wake_up_does_not_burst():
    peer = Peer()
    peer.start("OPTIONS")
    peer.sent.clear()
    peer.layer.handle_timeout(20.0)
    peer.collect()
    assert len(peer.sent) == 1


def test_kinds_are_told_by_their_method():
    peer = Peer()
    assert peer.start().kind is Kind.INVITE_CLIENT
    assert isinstance(peer.accept(request("BYE", branch="z9hG4bK9")), Transaction)
    transaction = peer.start("BYE")
    peer.answer(transaction, 200)
    assert [type(event) for event in peer.events()] == [ResponseIn]
