"""A phone registers with the PBX: passwords, refresh, expiry, sources."""

import itertools
from dataclasses import replace

import pytest

from scenarios.proto.call import CallState, OptionsAnswered
from scenarios.proto.registrar import Registered, Unregistered
from scenarios.proto.registration import RegistrationChanged, RegistrationState
from scenarios.proto.sip import message_untrusted
from scenarios.proto.sip_uri import NameAddr, Uri
from tests.scenarios.proto.sip_world import ALICE, BOB, PBX, World, office


def test_registered_with_the_source_as_seen():
    world, pbx, alice, _ = office()
    assert alice.registered
    binding = pbx.registrations["alice"]
    assert (str(binding.contact), binding.source) == (f"sip:alice@{ALICE}:5060", (ALICE, 5060))
    assert [(event.user, event.source) for event in world.said(PBX, Registered)] == [
        ("alice", (ALICE, 5060)),
        ("bob", (BOB, 5060)),
    ]


@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("mallory", "x"), ("", "")])
def test_refused(username, password):
    world = World()
    pbx, phone = world.pbx(), world.phone("alice", ALICE, username=username, password=password)
    phone.register(0.0)
    world.run(600)
    assert phone.registration.state is RegistrationState.REFUSED
    assert phone.registration.status == 403
    assert pbx.registrations == {}
    # One challenge, one try: a refused password is not repeated.
    assert len(world.sip(method="REGISTER")) == 2
    assert pbx.transactions == 0  # strangers leave nothing behind


def test_somebody_elses_name_is_refused_like_a_wrong_password():
    world = World()
    pbx, phone = world.pbx(), world.phone("bob", BOB)
    phone.register(0.0)
    (port, destination, data) = phone.poll_transmit()[0]
    world.send((BOB, port), destination, data.replace(b"To: <sip:bob@", b"To: <sip:alice@"))
    world.run(0.05)
    assert [message.status for message in world.sip(source=PBX, status=401)] == [401]
    again = next(sent.data for sent in world.sent if sent.source[0] == BOB and b"Authorization" in sent.data)
    world.send(
        (BOB, 5060),
        (PBX, 5060),
        again.replace(b"To: <sip:bob@", b"To: <sip:alice@").replace(b"branch=", b"branch=z9hG4bKx"),
    )
    world.run(0.05)
    assert "alice" not in pbx.registrations


def test_refreshed_at_half_life_with_the_same_call_id():
    world, pbx, _alice, _ = office()
    world.run(3600 * 3)
    mine = world.sip(method="REGISTER", source=ALICE)
    assert len({message.call_id for message in mine}) == 1
    assert [message.cseq for message in mine] == sorted({message.cseq for message in mine})
    assert set(pbx.registrations) == {"alice", "bob"}
    first = [event for event in world.said(PBX, Registered) if event.user == "alice"]
    assert [event.refresh for event in first] == [False] + [True] * (len(first) - 1)
    assert [round((b.at - a.at) / 1800, 1) for a, b in itertools.pairwise(first)] == [1.0] * (len(first) - 1)


def test_a_registration_ends_when_it_is_not_refreshed():
    world, pbx, _, _ = office()
    world.down.add(ALICE)
    world.run(3700)
    assert set(pbx.registrations) == {"bob"}
    assert [(event.user, event.expired) for event in world.said(PBX, Unregistered)] == [("alice", True)]


def test_taken_back():
    world, pbx, alice, _ = office()
    alice.unregister(world.now)
    world.run(1)
    assert not alice.registered
    assert set(pbx.registrations) == {"bob"}
    assert [(event.user, event.expired) for event in world.said(PBX, Unregistered)] == [("alice", False)]
    world.run(7200)
    assert set(pbx.registrations) == {"bob"}


def test_too_short_is_lengthened():
    world = World()
    pbx, alice = world.pbx(), world.phone("alice", ALICE)
    alice.register(0.0, expires=3)
    world.run(1)
    assert alice.registered
    assert pbx.registrations["alice"].expires_at == pytest.approx(10, abs=0.2)
    assert world.sip(source=PBX, status=423)


def test_comes_back_by_itself_after_an_outage():
    world = World()
    world.pbx()
    alice = world.phone("alice", ALICE)
    world.down.add(PBX)
    alice.register(0.0)
    world.run(100)
    assert not alice.registered
    assert world.said(ALICE, RegistrationChanged)[0].status == 408
    world.down.clear()
    world.run(140)
    assert alice.registered


def test_succeeds_under_loss():
    for seed in range(20):
        world = World(loss=0.3, seed=seed)
        world.pbx()
        alice = world.phone("alice", ALICE)
        alice.register(0.0)
        world.run(120)
        assert alice.registered


def test_an_expired_nonce_is_renewed_without_asking_the_user():
    world, pbx, alice, _ = office()
    world.run(400)  # beyond the life of the nonce
    alice.register(world.now)
    world.run(1)
    assert alice.registered
    assert "stale=true" in world.sip(source=PBX, destination=ALICE, status=401)[-1].header("WWW-Authenticate")
    assert pbx.registrations["alice"].registered_at > 400


def test_a_captured_register_cannot_be_replayed():
    world, pbx, alice, _ = office()
    captured = next(
        sent.data for sent in world.sent if sent.source[0] == ALICE and b"Authorization" in sent.data
    )
    alice.unregister(world.now)
    world.run(1)
    moved = captured.replace(b"branch=z9hG4bK", b"branch=z9hG4bKnew").replace(b"CSeq: 2", b"CSeq: 9")
    world.send(("203.0.113.9", 5060), (PBX, 5060), moved)
    world.run(1)
    assert "alice" not in pbx.registrations


def test_requests_out_of_order_are_refused():
    world, pbx, alice, _ = office()
    before = pbx.registrations["alice"]
    alice.register(world.now)
    port, destination, data = alice.poll_transmit()[0]
    cseq = message_untrusted(data).cseq
    world.send((ALICE, port), destination, data.replace(b"CSeq: %d" % cseq, b"CSeq: 1"))
    world.run(0.2)
    assert pbx.registrations["alice"] == before
    assert world.sip(source=PBX, status=500)


def test_a_flood_of_strangers_costs_no_memory():
    world, pbx, _, _ = office()
    world.run(60)
    held = pbx.transactions
    template = next(sent.data for sent in world.sent if sent.source[0] == ALICE)
    for number in range(300):
        data = template.replace(b"branch=z9hG4bK", b"branch=z9hG4bK%d" % number)
        pbx.handle_datagram(5060, ("203.0.113.9", 5060), data, world.now)
        invite = data.replace(b"REGISTER", b"INVITE")
        pbx.handle_datagram(5060, ("203.0.113.9", 5060), invite, world.now)
    assert len(pbx.poll_transmit()) == 600
    assert pbx.transactions == held


def test_no_registration_is_for_ever():
    world = World()
    pbx, alice = world.pbx(), world.phone("alice", ALICE)
    alice.register(0.0, expires=4_000_000_000)
    world.run(1)
    assert pbx.registrations["alice"].expires_at == pytest.approx(7200, abs=1)
    assert alice.registration.expires_at == pytest.approx(7200, abs=1)


class AlwaysStale:
    """A server that finds every nonce too old, in requests of `only` these methods."""

    def __init__(self, *only):
        self.requests = 0
        self.out = []
        self.only = only

    def wants(self, port):
        return True

    def handle_datagram(self, port, source, data, now):
        request = message_untrusted(data)
        if self.only and request.method not in self.only:
            if request.method != "ACK":
                self.out.append((port, source, self.content(request).encode()))
        elif request.method != "ACK":
            self.requests += 1
            reply = request.reply(401, tag="t")
            nonce = f"n{self.requests}"
            reply.extra.append(
                ("WWW-Authenticate", f'Digest realm="r", nonce="{nonce}", qop="auth", stale=true')
            )
            self.out.append((port, source, reply.encode()))

    def content(self, request):
        reply = request.reply(200, tag="t")
        if request.method == "INVITE":
            reply.contacts = [NameAddr(request.uri)]
            reply.with_body("application/sdp", request.body)
        return reply

    def poll_transmit(self):
        out, self.out = self.out, []
        return out

    def handle_timeout(self, now):
        raise AssertionError("never asked for")

    def poll_timeout(self):
        return float("inf")

    def poll_event(self):
        return None


def test_a_server_that_is_never_content_is_left_alone():
    world = World()
    server = world.add(PBX, AlwaysStale())
    alice = world.phone("alice", ALICE)
    alice.register(0.0)
    world.run(1)
    assert server.requests == 4
    assert alice.registration.state is RegistrationState.REFUSED
    call = alice.call("bob", world.now)
    world.run(1)
    assert server.requests == 8
    assert call.status == 401


def test_requests_inside_and_outside_a_call_are_not_signed_for_ever():
    world = World()
    server = world.add(PBX, AlwaysStale("OPTIONS", "BYE"))
    alice = world.phone("alice", ALICE)
    alice.options("bob", 0.0)
    world.run(5)
    assert server.requests == 4
    assert [event.status for event in world.said(ALICE, OptionsAnswered)] == [401]
    call = alice.call("bob", world.now, hold=1.0)
    world.run(5)
    assert call.state is CallState.ENDED
    assert server.requests == 8


class NeverLongEnough(AlwaysStale):
    """A registrar whose minimum is always a second more than what was asked for."""

    def handle_datagram(self, port, source, data, now):
        self.requests += 1
        request = message_untrusted(data)
        reply = request.reply(423, tag="t")
        reply.set("Min-Expires", str(request.expires + 1))
        self.out.append((port, source, reply.encode()))


def test_a_registrar_that_always_wants_longer_is_left_alone():
    world = World()
    server = world.add(PBX, NeverLongEnough())
    alice = world.phone("alice", ALICE)
    alice.register(0.0)
    world.run(0.5)
    assert server.requests == 4
    assert alice.registration.poll_timeout() > 1.0  # and tried later


def test_a_registration_taken_back_is_never_lengthened():
    world = World()
    server = world.add(PBX, NeverLongEnough())
    alice = world.phone("alice", ALICE)
    alice.unregister(0.0)
    world.run(100)
    assert server.requests == 1
    assert alice.registration.state is RegistrationState.UNREGISTERED


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"extra": [("Require", "path")]}, 420),
        ({"contacts": [], "any_contact": True}, 400),  # "*" goes with Expires: 0 only
        ({"contacts": [NameAddr(Uri(ALICE)), NameAddr(Uri(BOB))]}, 400),
    ],
)
def test_registrations_that_are_refused(changed, status):
    world = World()
    pbx, alice = world.pbx(), world.phone("alice", ALICE)
    alice.register(0.0)
    for _ in range(2):  # without and with credentials
        ((_, _, data),) = alice.poll_transmit()
        request = message_untrusted(data)
        request = replace(request, **{**changed, "extra": [*request.extra, *changed.get("extra", [])]})
        pbx.handle_datagram(5060, (ALICE, 5060), request.encode(), 0.0)
        ((_, _, answer),) = pbx.poll_transmit()
        alice.handle_datagram(5060, (PBX, 5060), answer, 0.0)
    assert message_untrusted(answer).status == status
    assert pbx.registrations == {}


def test_a_phone_that_was_restarted_begins_to_count_anew():
    world, pbx, alice, _ = office()
    alice.register(world.now)
    world.run(1)
    before = pbx.registrations["alice"]
    world.seed = 2  # another Call-ID
    again = world.phone("alice", ALICE)
    again.register(world.now)
    world.run(1)
    after = pbx.registrations["alice"]
    assert again.registered
    assert after.call_id != before.call_id
    assert after.cseq < before.cseq
