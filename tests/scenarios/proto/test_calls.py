"""Calls between phones over the PBX, and from the PBX itself: what each side says about them, what is on the wire."""

import itertools
from dataclasses import replace

import pytest

from scenarios.proto.call import (
    CallChanged,
    CallConfirmed,
    CallOver,
    CallRefused,
    CallState,
    IncomingCall,
    OptionsAnswered,
)
from scenarios.proto.proxy import CallAnswered, CallEnded, CallStarted
from scenarios.proto.sip import message_untrusted
from scenarios.proto.sip_uri import NameAddr, uri_untrusted
from tests.scenarios.proto.sip_world import ALICE, BOB, PBX, World, office


class Deaf:
    """Takes every datagram and says nothing."""

    def wants(self, port):
        return True

    def handle_datagram(self, port, source, data, now):
        """Said to nobody."""

    def poll_transmit(self):
        return []

    def poll_timeout(self):
        return float("inf")

    def poll_event(self):
        return None


def connected(**options):
    world, pbx, alice, bob = office(**options)
    call = alice.call("bob", world.now)
    world.run(1)
    assert call.state is CallState.CONFIRMED
    return world, pbx, call, bob.calls[0]


@pytest.mark.parametrize("target", ["bob", f"sip:bob@{PBX}", f"sip:b%6Fb@{PBX}", "sip:bob@hq.example"])
def test_a_call_over_the_pbx(target):
    world, pbx, alice, bob = office()
    bob.auto_answer_after = 2.0
    call = alice.call(target, world.now)
    world.run(1)
    assert (call.state, bob.calls[0].state) == (CallState.RINGING, CallState.RINGING)
    world.run(2)
    theirs = bob.calls[0]
    assert (call.state, theirs.state) == (CallState.CONFIRMED, CallState.CONFIRMED)
    assert (call.local_media, call.remote_media) == ((ALICE, 16384), (BOB, 16384))
    assert (theirs.local_media, theirs.remote_media) == ((BOB, 16384), (ALICE, 16384))
    assert call.id == theirs.id
    assert call.setup_time == pytest.approx(2.06, abs=0.03)
    assert len(pbx.proxied) == 1
    assert world.events[PBX][-1] == CallAnswered(call.id, "alice", "bob", world.events[PBX][-1].at)


def test_both_ways():
    world, _, alice, bob = office()
    first = bob.call("alice", world.now, hold=3.0)
    world.run(5)
    second = alice.call("bob", world.now, hold=3.0)
    world.run(5)
    assert [call.state for call in (first, second)] == [CallState.ENDED] * 2
    assert [call.role for call in alice.calls] == ["callee", "caller"]


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_bye_from_either_side(who):
    world, pbx, mine, theirs = connected()
    (mine if who == "caller" else theirs).hangup(world.now)
    world.run(1)
    assert (mine.state, theirs.state) == (CallState.ENDED, CallState.ENDED)
    assert (mine.ended_by, theirs.ended_by) == (who, who)
    assert world.sip(method="BYE", status=200)
    assert pbx.proxied == []
    assert [type(event) for event in world.events[PBX][-3:]] == [CallStarted, CallAnswered, CallEnded]
    world.run(64)
    assert pbx.transactions == 0  # nothing is left over


def test_bye_from_both_at_once():
    world, pbx, mine, theirs = connected()
    mine.hangup(world.now)
    theirs.hangup(world.now)
    world.run(40)
    assert (mine.state, theirs.state) == (CallState.ENDED, CallState.ENDED)
    assert pbx.proxied == []


def test_holding_time_ends_the_call():
    world, _, alice, _ = office()
    call = alice.call("bob", world.now, hold=5.0)
    world.run(30)
    assert call.duration == pytest.approx(5.0)
    assert call.ended_by == "caller"


def test_everything_of_a_call_goes_over_the_pbx():
    world, _, mine, _ = connected()
    mine.reinvite(world.now)
    world.run(1)
    mine.hangup(world.now)
    world.run(1)
    assert {PBX} == {sent.destination[0] if sent.source[0] != PBX else sent.source[0] for sent in world.sent}


def test_routed_to_the_source_as_seen_not_to_the_contact():
    world, _, alice, bob = office()
    # Bob's contact names an address where nobody is; the PBX answers to where his REGISTER came from.
    bob.register(world.now)
    port, destination, data = bob.poll_transmit()[0]
    world.send(
        (BOB, port),
        destination,
        data.replace(b"@100.96.0.13:5060>\r\nAllow", b"").replace(
            b"Contact: <sip:bob@100.96.0.13", b"Contact: <sip:bob@100.96.0.99"
        ),
    )
    world.run(1)
    call = alice.call("bob", world.now, hold=2.0)
    world.run(5)
    assert call.state is CallState.ENDED
    assert not [sent for sent in world.sent if sent.destination[0] == "100.96.0.99"]


def test_cancelled_while_ringing():
    world, pbx, alice, bob = office()
    bob.auto_answer_after = None
    call = alice.call("bob", world.now)
    world.run(3)
    call.cancel(world.now)
    world.run(1)
    theirs = bob.calls[0]
    assert (call.state, call.status, call.ended_by) == (CallState.CANCELLED, 487, "caller")
    assert (theirs.state, theirs.status, theirs.ended_by) == (CallState.CANCELLED, 487, "caller")
    # Hop by hop: the PBX answers alice's CANCEL itself and sends bob one of its own.
    assert [m.vias[0].sent_by[0] for m in world.sip(method="CANCEL")] == [ALICE, PBX]
    world.run(64)
    assert pbx.transactions == 0
    assert pbx.proxied == []


def test_cancelled_before_anything_came_back():
    world, _, alice, bob = office()
    bob.auto_answer_after = None
    call = alice.call("bob", world.now)
    call.cancel(world.now)
    world.run(40)
    assert call.state is CallState.CANCELLED


@pytest.mark.parametrize("over_the_proxy", [True, False])
def test_a_cancel_that_nobody_answers_leaves_nothing_behind(over_the_proxy):
    world, pbx, alice, bob = office()
    bob.auto_answer_after = None
    call = alice.call("bob", world.now) if over_the_proxy else pbx.dial("600", "bob", world.now)
    world.run(1)
    world.down.add(BOB)
    call.cancel(world.now)
    world.run(33)
    assert (call.state, call.status, call.ended_by) == (CallState.CANCELLED, 408, "caller")
    world.run(40)
    assert (pbx.transactions, pbx.proxied) == (0, [])


def test_ringing_after_the_cancel_does_not_hold_the_call_open():
    world, pbx, alice, bob = office()
    bob.auto_answer_after = None
    call = alice.call("bob", world.now)
    world.run(1)
    world.down.add(BOB)
    call.cancel(world.now)
    ringing = world.sip(source=BOB, status=180)[-1].encode()
    for _ in range(8):
        world.run(5)
        pbx.handle_datagram(5060, (BOB, 5060), ringing, world.now)
    assert call.status == 408
    world.run(40)
    assert (pbx.transactions, pbx.proxied) == (0, [])


def test_an_answer_that_crosses_the_cancel_is_taken_back():
    world, pbx, alice, bob = office()
    bob.auto_answer_after = 1.0
    call = alice.call("bob", world.now)
    world.run(0.05 + 1.0)
    assert call.state is CallState.RINGING
    call.cancel(world.now)
    world.run(5)
    assert call.state is CallState.CANCELLED
    assert bob.calls[0].state is CallState.ENDED
    assert world.sip(method="BYE", source=ALICE)
    assert pbx.proxied == []


def test_nobody_picks_up():
    world, _, alice, bob = office()
    bob.auto_answer_after = None
    call = alice.call("bob", world.now, ring_timeout=20.0)
    world.run(30)
    assert (call.state, call.reason, call.status) == (CallState.CANCELLED, "no answer", 487)
    assert call.ended_at - call.started_at == pytest.approx(20.0, abs=0.2)
    assert bob.calls[0].state is CallState.CANCELLED


def test_picked_up_by_hand():
    world, _, alice, bob = office()
    bob.auto_answer_after = None
    call = alice.call("bob", world.now)
    world.run(7)
    (incoming,) = world.said(BOB, IncomingCall)
    incoming.call.answer(world.now)
    world.run(1)
    assert call.state is CallState.CONFIRMED


def test_busy():
    world, _, alice, bob = office()
    carol = world.pbx(users=("alice", "bob", "carol"))
    assert carol is not None
    third = world.phone("carol", "100.96.0.14")
    for phone in (alice, bob, third):
        phone.register(world.now)
    world.run(1)
    alice.call("bob", world.now)
    world.run(1)
    call = third.call("bob", world.now)
    world.run(1)
    assert (call.state, call.status, call.ended_by) == (CallState.FAILED, 486, "callee")
    assert [event.status for event in world.said(BOB, CallRefused)] == [486]
    assert len(bob.calls) == 1


def test_declined():
    world, _, alice, bob = office()
    bob.decline = True
    call = alice.call("bob", world.now)
    world.run(1)
    assert (call.state, call.status) == (CallState.FAILED, 603)


def test_a_second_line_of_our_own_is_refused():
    world, _, _, _ = connected()
    call = world.apps[ALICE].call("bob", world.now)
    assert (call.state, call.status) == (CallState.FAILED, 486)


@pytest.mark.parametrize(
    ("target", "status"),
    [("nobody", 404), ("carol", 480), ("sip:bob@elsewhere.example", 404), ("tel:+49123", 416)],
)
def test_unreachable(target, status):
    world = World()
    world.pbx(users=("alice", "bob", "carol"))
    alice = world.phone("alice", ALICE)
    alice.register(0.0)
    world.run(1)
    call = alice.call(target, world.now)
    world.run(1)
    assert (call.state, call.status) == (CallState.FAILED, status)


def test_a_phone_that_vanished():
    world, pbx, alice, _ = office()
    world.down.add(BOB)
    call = alice.call("bob", world.now, ring_timeout=100)
    world.run(60)
    assert (call.state, call.status) == (CallState.FAILED, 408)
    assert world.said(PBX, CallEnded)[-1].status == 408
    assert pbx.proxied == []


def test_a_pbx_that_vanished():
    world, _, alice, _ = office()
    world.down.add(PBX)
    call = alice.call("bob", world.now)
    world.run(60)
    assert (call.state, call.status, call.ended_by) == (CallState.FAILED, 408, "timeout")


def test_a_caller_who_vanishes_while_it_rings_is_let_go():
    world, _pbx, alice, bob = office()
    bob.auto_answer_after = None
    alice.call("bob", world.now)
    world.run(1)
    world.down.update((ALICE, PBX))
    world.run(300)
    assert [call.state for call in bob.calls] == [CallState.FAILED]


def test_an_answer_that_is_never_acknowledged_ends_with_bye():
    world, _, alice, bob = office()
    bob.auto_answer_after = 1.0
    alice.call("bob", world.now)
    world.run(1.04)
    world.down.add(ALICE)
    world.run(40)
    theirs = bob.calls[0]
    assert (theirs.state, theirs.status, theirs.ended_by) == (CallState.ENDED, 408, "timeout")
    answers = [
        sent.at
        for sent in world.sent
        if sent.source[0] == BOB and b"200 OK" in sent.data and b"INVITE" in sent.data
    ]
    gaps = [round(b - a, 3) for a, b in itertools.pairwise(answers)]
    assert gaps[:4] == [0.5, 1.0, 2.0, 4.0]
    assert set(gaps[4:]) == {4.0}
    assert world.sip(method="BYE", source=BOB)


def test_hold_and_resume():
    world, _, mine, theirs = connected()
    assert mine.hold(world.now)
    world.run(1)
    assert (mine.on_hold, theirs.held, theirs.on_hold, mine.held) == (True, True, False, False)
    assert mine.resume(world.now)
    world.run(1)
    assert (mine.on_hold, theirs.held) == (False, False)
    assert theirs.hold(world.now)
    world.run(1)
    assert (theirs.on_hold, mine.held) == (True, True)
    assert (mine.reinvites, theirs.reinvites) == (3, 3)
    assert [event.status for event in world.said(ALICE, CallChanged)] == [200] * 3
    assert mine.state is theirs.state is CallState.CONFIRMED
    versions = [int(m.body.split(b" ")[2]) for m in world.sip(method="INVITE", source=ALICE) if m.to.tag]
    assert versions == sorted(set(versions))  # the o= version grows with every offer


def test_one_reinvite_at_a_time():
    world, _, mine, _ = connected()
    assert mine.reinvite(world.now)
    assert not mine.reinvite(world.now)
    world.run(1)
    assert mine.reinvite(world.now)


def test_glare():
    world, _, mine, theirs = connected()
    assert mine.hold(world.now)
    assert theirs.hold(world.now)
    world.run(0.5)
    assert len(world.sip(status=491, destination=ALICE)) == 1
    assert len(world.sip(status=491, destination=BOB)) == 1
    assert (mine.reinvites, theirs.reinvites) == (0, 0)
    world.run(10)
    # Both get their way, one after the other, and the callee goes first.
    assert (mine.on_hold, theirs.on_hold) == (True, True)
    assert (mine.reinvites, theirs.reinvites) == (2, 2)
    retries = [m.from_.uri.username for m in world.sip(method="INVITE", destination=PBX) if m.to.tag][2:]
    assert retries == ["bob", "alice"]


def test_a_refused_reinvite_changes_nothing():
    world, _, mine, theirs = connected()
    before = theirs.remote_media
    assert mine.reinvite(world.now)
    port, destination, data = world.apps[ALICE].poll_transmit()[0]
    world.send((ALICE, port), destination, data.replace(b"RTP/AVP", b"RTP/XYZ"))
    world.run(1)
    assert mine.state is theirs.state is CallState.CONFIRMED
    assert theirs.remote_media == before
    assert world.said(ALICE, CallChanged)[-1].status == 488


def test_a_reinvite_that_was_never_settled_ends_with_its_call():
    world, pbx, _, bob = office()
    call = pbx.dial("600", "bob", world.now)
    world.run(1)
    assert call.state is CallState.CONFIRMED
    assert call.reinvite(world.now)
    (_, _, data), *_ = pbx.poll_transmit()
    trying = message_untrusted(data).reply(100)
    pbx.handle_datagram(5060, (BOB, 5060), trying.encode(), world.now)
    bob.calls[0].hangup(world.now)
    world.run(64)
    assert call.state is CallState.ENDED
    assert pbx.transactions == 0


def test_a_reinvite_into_a_dead_dialog_ends_the_call():
    world, _, mine, _ = connected()
    world.down.add(BOB)
    mine.reinvite(world.now)
    world.run(60)
    assert (mine.state, mine.ended_by) == (CallState.ENDED, "timeout")


def test_server_initiated():
    world, pbx, _, bob = office()
    call = pbx.dial("600", "bob", world.now, hold=4.0)
    world.run(2)
    theirs = bob.calls[0]
    assert (call.state, theirs.state, theirs.role) == (CallState.CONFIRMED, CallState.CONFIRMED, "callee")
    assert theirs.remote == f"sip:600@{PBX}"
    world.run(5)
    assert (call.state, theirs.ended_by) == (CallState.ENDED, "caller")


def test_server_initiated_and_ended_by_the_phone():
    world, pbx, _, bob = office()
    call = pbx.dial("600", "bob", world.now)
    world.run(2)
    bob.calls[0].hangup(world.now)
    world.run(1)
    assert (call.state, call.ended_by) == (CallState.ENDED, "callee")


def test_dialling_somebody_who_is_not_there():
    world, pbx, _, _ = office()
    call = pbx.dial("600", "carol", world.now)
    assert (call.state, call.status) == (CallState.FAILED, 480)
    world.run(1)
    assert world.said(PBX, CallOver)


def test_the_echo_extension():
    world, pbx, alice, _ = office()
    call = alice.call("600", world.now, hold=3.0)
    world.run(1)
    assert call.remote_media == (PBX, 16384)
    assert pbx.calls[0].state is CallState.CONFIRMED
    assert pbx.proxied == []
    world.run(5)
    assert (call.state, pbx.calls[0].ended_by) == (CallState.ENDED, "caller")


def test_options():
    world, _, alice, _ = office()
    for target in (f"sip:{PBX}", "bob", "nobody"):
        alice.options(target, world.now)
        world.run(1)
    assert [event.status for event in world.said(ALICE, OptionsAnswered)] == [200, 200, 404]
    assert world.sip(method="OPTIONS", source=BOB, status=200)[0].header("Allow").startswith("INVITE")


def test_a_second_answer_of_a_forked_call_is_ended_and_the_first_goes_on():
    world, pbx, alice, _ = office()
    call = alice.call("bob", world.now)
    world.run(1)
    answer = next(
        sent.message
        for sent in world.sent
        if sent.source[0] == BOB and b"CSeq: 2 INVITE" in sent.data and b"200 OK" in sent.data
    )
    fork = replace(answer, to=answer.to.with_param("tag", "fork"))
    sent_before = len(world.sent)
    world.send((BOB, 5060), (PBX, 5060), fork.encode())
    world.run(0.2)
    reached = [sent.message for sent in world.sent[sent_before:] if sent.destination[0] == BOB]
    assert [(m.method, m.to.tag) for m in reached] == [("ACK", "fork"), ("BYE", "fork")]
    # Somebody has to answer that BYE; then the call that was there first can still be changed and ended.
    world.send((BOB, 5060), (PBX, 5060), reached[1].reply(200).encode())
    world.run(0.2)
    assert call.state is CallState.CONFIRMED
    assert len(pbx.proxied) == 1
    assert call.hold(world.now)
    world.run(1)
    assert call.on_hold
    call.hangup(world.now)
    world.run(1)
    assert world.sip(status=200, destination=ALICE)[-1].method == "BYE"
    assert pbx.proxied == []


def test_calling_oneself_is_no_merged_request():
    world = World()
    world.pbx()
    alice = world.phone("alice", ALICE, max_calls=2)
    alice.register(0.0)
    world.run(1)
    call = alice.call("alice", world.now, hold=1.0)
    world.run(5)
    assert call.confirmed_at is not None
    assert [call.state for call in alice.calls] == [CallState.ENDED] * 2


def crafted_answer(world, cseq, status, tag):
    """What BOB might say to an INVITE of the PBX."""
    invite = next(m for m in world.sip(method="INVITE", destination=BOB, lost=True) if m.cseq == cseq)
    reply = invite.reply(status, tag=tag)
    reply.contacts = [NameAddr(uri_untrusted(f"sip:bob@{BOB}"))]
    if status == 200:
        reply.with_body("application/sdp", invite.body)
    world.send((BOB, 5060), (PBX, 5060), reply.encode())
    world.run(0.1)


def dialled_by_hand():
    """The PBX calls a phone whose answers we write ourselves."""
    world, pbx, _, _ = office()
    call = pbx.dial("600", "bob", world.now)
    world.down.add(BOB)
    world.run(0.1)
    world.down.clear()
    world.apps[BOB] = Deaf()
    return world, call


def test_an_answer_without_a_tag_makes_no_call():
    world, call = dialled_by_hand()
    crafted_answer(world, 1, 200, "")
    assert call.state is CallState.DIALING
    assert not world.sip(method="ACK", destination=BOB)


def test_each_repeated_answer_to_a_reinvite_is_acknowledged_once_more():
    world, call = dialled_by_hand()
    crafted_answer(world, 1, 200, "b")
    assert call.hold(world.now)
    world.run(0.1)
    for _ in range(3):
        crafted_answer(world, 2, 200, "b")
    assert [m.cseq for m in world.sip(method="ACK", destination=BOB)] == [1, 2, 2, 2]
    assert (call.reinvites, call.on_hold) == (1, True)


def test_a_reinvite_that_meets_no_dialog_ends_the_call():
    world, call = dialled_by_hand()
    crafted_answer(world, 1, 200, "b")
    assert call.reinvite(world.now)
    world.run(0.1)
    crafted_answer(world, 2, 481, "b")
    assert call.state is CallState.ENDED
    assert world.sip(method="BYE", destination=BOB)


def test_an_ack_of_another_invite_confirms_nothing():
    world, _, alice, bob = office()
    bob.auto_answer_after = 1.0
    alice.call("bob", world.now)
    world.run(1.04)
    assert bob.calls[0].state is CallState.ANSWERED
    world.apps[ALICE].poll_transmit()
    world.down.add(ALICE)
    answer = next(
        sent.message
        for sent in world.sent
        if sent.source[0] == BOB and b"INVITE" in sent.data and b"200 OK" in sent.data
    )
    for number, state in ((answer.cseq + 1, CallState.ANSWERED), (answer.cseq, CallState.CONFIRMED)):
        ack = replace(
            world.sip(method="INVITE", destination=BOB)[0], method="ACK", cseq=number, to=answer.to, body=b""
        )
        bob.handle_datagram(5060, (PBX, 5060), ack.encode(), world.now)
        assert bob.calls[0].state is state


def test_a_reinvite_before_the_ack_is_refused():
    world, _, alice, bob = office()
    bob.auto_answer_after = 1.0
    alice.call("bob", world.now)
    world.run(1.04)
    assert bob.calls[0].state is CallState.ANSWERED
    first = world.sip(method="INVITE", destination=BOB)[0]
    tag = world.sip(source=BOB, status=180)[0].to.tag
    branch = (("branch", "z9hG4bKagain"),)
    second = replace(
        first,
        cseq=first.cseq + 1,
        to=first.to.with_param("tag", tag),
        vias=[replace(first.vias[0], params=branch)],
    )
    bob.handle_datagram(5060, (PBX, 5060), second.encode(), world.now)
    ((_, _, data),) = bob.poll_transmit()
    assert message_untrusted(data).status == 500  # RFC 3261 section 14.2


@pytest.mark.parametrize(
    ("changed", "status", "unsupported"),
    [
        ({"contacts": []}, 400, ""),
        ({"from_": NameAddr(uri_untrusted("sip:alice@hq.example"))}, 400, ""),
        ({"extra": [("Require", "100rel, timer")]}, 420, "100rel, timer"),
    ],
)
def test_an_invite_that_no_dialog_can_come_of_is_refused(changed, status, unsupported):
    world, _, alice, bob = office()
    alice.call("bob", world.now)
    world.run(0.1)
    invite = replace(world.sip(method="INVITE", destination=BOB)[0], call_id="other", body=b"", **changed)
    invite.vias = [replace(invite.vias[0], params=(("branch", "z9hG4bKother"),))]
    bob.calls[0].hangup(world.now)
    world.run(1)
    bob.handle_datagram(5060, (PBX, 5060), invite.encode(), world.now)
    ((_, _, data),) = bob.poll_transmit()
    reply = message_untrusted(data)
    assert (reply.status, reply.header("Unsupported")) == (status, unsupported)


def test_a_callee_who_hangs_up_before_the_ack_waits_for_it():
    world, _, alice, bob = office()
    bob.auto_answer_after = 1.0
    alice.call("bob", world.now)
    world.run(1.04)
    theirs = bob.calls[0]
    assert theirs.state is CallState.ANSWERED
    theirs.hangup(world.now)
    assert theirs.state is CallState.ANSWERED  # RFC 3261 section 15
    world.run(1)
    assert theirs.state is CallState.ENDED
    methods = [m.method for m in world.sip() if m.method in ("ACK", "BYE") and m.to.tag]
    assert methods.index("ACK") < methods.index("BYE")


def test_a_bye_out_of_order_is_refused():
    world, _, mine, theirs = connected()
    assert mine.hold(world.now)
    world.run(1)
    ack = world.sip(method="ACK", destination=BOB)[-1]
    bye = replace(
        ack, method="BYE", cseq=ack.cseq - 1, vias=[replace(ack.vias[0], params=(("branch", "z9hG4bKold"),))]
    )
    world.send((PBX, 5060), (BOB, 5060), bye.encode())
    world.run(1)
    assert world.sip(source=BOB, status=500)
    assert mine.state is theirs.state is CallState.CONFIRMED


def test_ringing_may_last_three_minutes_from_its_last_sign_and_no_longer():
    world, pbx, alice, bob = office()
    bob.auto_answer_after = None
    call = alice.call("bob", world.now, ring_timeout=1000)
    world.run(1)
    ringing = world.sip(source=BOB, status=180)[-1].encode()
    world.apps[BOB] = Deaf()
    world.run(150)
    pbx.handle_datagram(5060, (BOB, 5060), ringing, world.now)
    world.run(150)
    assert call.state is CallState.RINGING
    assert not world.sip(method="CANCEL", destination=BOB)
    world.run(40)  # timer C (RFC 3261 section 16.6 step 11) runs for 185 seconds
    assert world.sip(method="CANCEL", destination=BOB)
    world.run(33)
    assert (call.state, call.status) == (CallState.FAILED, 408)


def test_a_next_hop_that_only_tries_is_given_up():
    world, pbx, alice, _ = office()
    world.apps[BOB] = Deaf()
    alice.call("bob", world.now, ring_timeout=1000)
    world.run(0.1)
    trying = world.sip(method="INVITE", destination=BOB)[0].reply(100)
    pbx.handle_datagram(5060, (BOB, 5060), trying.encode(), world.now)
    world.run(190)
    assert world.sip(method="CANCEL", destination=BOB)


def test_an_overloaded_phone_does_not_make_the_pbx_look_overloaded():
    world, pbx, alice, _ = office()
    world.apps[BOB] = Deaf()
    call = alice.call("bob", world.now)
    world.run(0.1)
    reply = world.sip(method="INVITE", destination=BOB)[0].reply(503, tag="b")
    pbx.handle_datagram(5060, (BOB, 5060), reply.encode(), world.now)
    world.run(0.1)
    assert (call.state, call.status) == (CallState.FAILED, 500)  # RFC 3261 section 16.7 step 6


def test_a_reinvite_out_of_order_is_refused():
    world, _, mine, theirs = connected()
    assert mine.hold(world.now)
    world.run(1)
    old = world.sip(method="INVITE", destination=BOB)[-1]
    again = replace(old, vias=[replace(old.vias[0], params=(("branch", "z9hG4bKagain"),))])
    world.send((PBX, 5060), (BOB, 5060), again.encode())
    world.run(1)
    refusal = world.sip(source=BOB, status=500)[0]
    assert 0 <= int(refusal.header("Retry-After")) <= 10  # RFC 3261 section 14.2
    assert theirs.reinvites == 1


def test_under_loss_calls_succeed_and_nothing_is_left_over():
    acknowledged = 0
    for seed in range(25):
        world = World(loss=0.3, seed=seed)
        pbx, alice, bob = world.pbx(), world.phone("alice", ALICE), world.phone("bob", BOB)
        alice.register(0.0)
        bob.register(0.0)
        world.run(120)
        call = alice.call("bob", world.now, hold=45.0)
        world.run(40)
        assert call.confirmed_at is not None
        assert len(bob.calls) == 1  # retransmissions make no second call
        world.run(250)
        assert call.state is CallState.ENDED
        assert bob.calls[0].state is CallState.ENDED
        assert pbx.proxied == []
        acknowledged += bob.calls[0].confirmed_at is not None
    # Over two hops a 2xx and its ACK both come through in one try of four: once in a while in none of the eleven.
    assert acknowledged >= 22


def test_repeated_requests_do_nothing_twice():
    world, _, alice, bob = office()
    call = alice.call("bob", world.now, hold=2.0)
    for _ in range(12):
        before = len(world.sent)
        world.run(0.25)
        for sent in world.sent[before:]:
            world.send(sent.source, sent.destination, sent.data)
    world.run(5)
    assert call.state is CallState.ENDED
    assert len(bob.calls) == 1
    assert len(world.said(BOB, CallConfirmed)) == 1
    assert len(world.said(ALICE, CallConfirmed)) == 1
    assert len(world.said(PBX, CallEnded)) == 1


def test_the_ack_of_a_2xx_goes_end_to_end_and_that_of_a_failure_hop_by_hop():
    world, _, alice, bob = office()
    alice.call("bob", world.now, hold=1.0)
    world.run(5)
    (ack,) = list(world.sip(method="ACK", destination=BOB))
    assert [via.sent_by[0] for via in ack.vias] == [PBX, ALICE]
    bob.decline = True
    alice.call("bob", world.now)
    world.run(1)
    ack = world.sip(method="ACK", destination=BOB)[-1]
    assert [via.sent_by[0] for via in ack.vias] == [PBX]
    assert ack.vias == world.sip(method="INVITE", destination=BOB)[-1].vias[:1]


def test_a_forwarded_request_shows_no_credentials():
    world, _, alice, _ = office()
    alice.call("bob", world.now, hold=1.0)
    world.run(5)
    assert any(b"Proxy-Authorization" in sent.data for sent in world.sent if sent.source[0] == ALICE)
    assert not any(b"Authorization" in sent.data for sent in world.sent if sent.destination[0] == BOB)


def test_a_peer_without_sdp_in_its_invite_is_made_an_offer():
    world, _, alice, bob = office()
    call = alice.call("bob", world.now)
    _port, _destination, data = alice.poll_transmit()[0]
    invite = message_untrusted(data)
    invite.body = b""
    invite.remove("Content-Type")
    bob.handle_datagram(5060, (ALICE, 5060), invite.encode(), world.now)
    answers = [message_untrusted(data) for _, _, data in bob.poll_transmit()]
    assert [message.status for message in answers] == [180]
    bob.handle_timeout(world.now)
    (answer,) = [message_untrusted(data) for _, _, data in bob.poll_transmit()]
    assert (answer.status, answer.content_type) == (200, "application/sdp")
    assert bob.calls[0].remote_media is None
    ack = message_untrusted(data)
    ack.method, ack.to = "ACK", answer.to
    ack.vias = list(ack.vias)
    text = ack.encode().replace(b"INVITE sip", b"ACK sip").replace(b"branch=z9hG4bK", b"branch=z9hG4bKa")
    bob.handle_datagram(5060, (ALICE, 5060), text, world.now)
    assert bob.calls[0].state is CallState.CONFIRMED
    assert bob.calls[0].remote_media == call.local_media


def test_the_same_invite_over_another_path_is_refused():
    world, _, alice, bob = office()
    bob.auto_answer_after = None
    alice.call("bob", world.now)
    world.run(1)
    invite = next(
        sent.data for sent in world.sent if sent.destination[0] == BOB and sent.data.startswith(b"INVITE")
    )
    world.send((PBX, 5060), (BOB, 5060), invite.replace(b"branch=z9hG4bK", b"branch=z9hG4bKother", 1))
    world.run(0.05)
    assert world.sip(source=BOB, status=482)
    assert len(bob.calls) == 1
