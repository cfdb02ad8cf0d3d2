"""What the PBX does to requests that it should not serve, and what hostile datagrams do to it and to phones."""

import random
from dataclasses import replace

import pytest

from scenarios.proto.audio import Tone
from scenarios.proto.call import CallState
from scenarios.proto.digest import Credentials
from scenarios.proto.pbx import Pbx
from scenarios.proto.sip import MAX_MESSAGE, Request, message_untrusted
from scenarios.proto.sip_uri import NameAddr, name_addr_untrusted, uri_untrusted, via_untrusted
from scenarios.proto.softphone import media_with
from tests.scenarios.proto.sip_world import ALICE, BOB, PBX, World, office

STRANGER = ("203.0.113.9", 5060)


def crafted(text="", **changed):
    base = (
        f"INVITE sip:bob@{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKq;rport\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:alice@{PBX}>;tag=q\r\nTo: <sip:bob@{PBX}>\r\nCall-ID: q\r\nCSeq: 1 INVITE\r\n"
        f"Contact: <sip:alice@203.0.113.9>\r\n{text}\r\n"
    )
    return replace(message_untrusted(base.encode()), **changed)


def answers(pbx, request, now, source=STRANGER):
    pbx.poll_transmit()
    pbx.handle_datagram(5060, source, request.encode(), now)
    sent = [(destination, message_untrusted(data)) for _, destination, data in pbx.poll_transmit()]
    return [(message.status if not isinstance(message, Request) else message.method) for _, message in sent]


def authenticated(pbx, request, now, source=STRANGER, user="alice"):
    """Answer the challenge for `user`, as a phone of ours would, and send the request again."""
    pbx.poll_transmit()
    pbx.handle_datagram(5060, source, request.encode(), now)
    challenge = message_untrusted(pbx.poll_transmit()[0][2])
    assert challenge.status == 407
    credentials = Credentials(user, f"secret-{user}", random.Random(3))
    assert credentials.challenged(request, challenge)
    credentials.sign(request)
    request.vias[0] = replace(
        request.vias[0], params=(("branch", f"z9hG4bK{challenge.to.tag}"), ("rport", None))
    )
    return answers(pbx, request, now, source)


def test_nobody_calls_without_a_password():
    world, pbx, _, _ = office()
    assert answers(pbx, crafted(), world.now) == [407]
    assert authenticated(pbx, crafted(), world.now)[:2] == [100, "INVITE"]


def test_nobody_calls_in_another_name():
    world, pbx, _, _ = office()
    assert authenticated(pbx, crafted(), world.now, user="bob") == [403]


@pytest.mark.parametrize(
    ("changed", "text", "expected"),
    [
        ({"max_forwards": 0}, "", 483),
        ({}, "Proxy-Require: nothing\r\n", 420),
        ({"uri": uri_untrusted("tel:+491")}, "", 416),
        ({"uri": uri_untrusted("sips:bob@10.0.50.60")}, "", 416),
    ],
)
def test_not_to_be_forwarded(changed, text, expected):
    world, pbx, _, _ = office()
    assert answers(pbx, crafted(text, **changed), world.now) == [expected]


def test_a_loop_is_found_and_a_spiral_is_not():
    world, pbx, alice, _ = office()
    alice.call("bob", world.now)
    world.run(0.1)
    forwarded = next(iter(world.sip(method="INVITE", destination=BOB)))
    own = forwarded.vias[0]
    loop = crafted(
        vias=[via_untrusted("SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKloop"), own],
        uri=uri_untrusted(f"sip:bob@{PBX}"),
        from_=forwarded.from_,
        call_id=forwarded.call_id,
        cseq=forwarded.cseq,
    )
    assert answers(pbx, loop, world.now) == [482]
    assert answers(pbx, replace(loop, uri=uri_untrusted(f"sip:alice@{PBX}")), world.now) == [407]


def test_no_relay_for_strangers():
    world, pbx, alice, _ = office()
    call = alice.call("bob", world.now)
    world.run(1)
    bye = next(m for m in world.sip(method="ACK", destination=PBX) if m.to.tag and m.routes)
    assert call.state is CallState.CONFIRMED
    target = uri_untrusted("sip:victim@198.51.100.7")
    known = replace(bye, method="INFO", cseq=99, uri=target, vias=crafted().vias)
    assert answers(pbx, known, world.now) == ["INFO"]  # a party to the call may
    for change in (
        {"call_id": "made-up"},
        {"from_": bye.from_.with_param("tag", "made-up")},
        {"to": bye.to.with_param("tag", "made-up")},
    ):
        forged = replace(
            known, vias=[via_untrusted(f"SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK{len(str(change))}")], **change
        )
        assert answers(pbx, forged, world.now) == [481]
        assert answers(pbx, replace(forged, method="ACK"), world.now) == []


def test_next_hops_are_numeric_and_not_ourselves():
    world, pbx, alice, _ = office()
    alice.call("bob", world.now)
    world.run(1)
    ack = next(m for m in world.sip(method="ACK", destination=PBX) if m.to.tag and m.routes)
    named = replace(
        ack, method="INFO", cseq=99, uri=uri_untrusted("sip:x@victim.example"), vias=crafted().vias
    )
    assert answers(pbx, named, world.now) == [404]
    assert answers(pbx, replace(named, method="ACK"), world.now) == []
    circular = replace(named, uri=uri_untrusted(f"sip:x@{PBX}"))
    assert answers(pbx, circular, world.now) == [404]
    assert answers(pbx, replace(circular, method="ACK"), world.now) == []


@pytest.mark.parametrize("method", ["ACK", "INFO"])
def test_a_strict_router_is_named_in_the_request_uri(method):
    world, pbx, alice, _ = office()
    alice.call("bob", world.now)
    world.run(1)
    ack = next(m for m in world.sip(method="ACK", destination=PBX) if m.to.tag and m.routes)
    strict, loose = (name_addr_untrusted(text) for text in ("<sip:192.0.2.7>", "<sip:192.0.2.8;lr>"))
    request = replace(ack, method=method, cseq=99, vias=crafted().vias, routes=[*ack.routes, strict, loose])
    pbx.handle_datagram(5060, STRANGER, request.encode(), world.now)
    ((_, destination, data),) = pbx.poll_transmit()
    sent = message_untrusted(data)
    assert destination == ("192.0.2.7", 5060)
    assert str(sent.uri) == "sip:192.0.2.7"
    assert [route.uri for route in sent.routes] == [loose.uri, ack.uri]  # RFC 3261 section 16.6 step 6


def test_a_request_from_a_strict_router_is_for_the_last_route():
    world, pbx, alice, _ = office()
    alice.call("bob", world.now)
    world.run(1)
    ack = next(m for m in world.sip(method="ACK", destination=PBX) if m.to.tag and m.routes)
    request = replace(
        ack, method="INFO", cseq=99, vias=crafted().vias, uri=ack.routes[0].uri, routes=[NameAddr(ack.uri)]
    )
    pbx.handle_datagram(5060, STRANGER, request.encode(), world.now)
    ((_, destination, data),) = pbx.poll_transmit()
    sent = message_untrusted(data)
    assert (destination, sent.uri, sent.routes) == ((BOB, 5060), ack.uri, [])  # RFC 3261 section 16.4
    assert sent.max_forwards == request.max_forwards - 1


def test_a_preloaded_route_leads_nowhere():
    world, pbx, _, _ = office()
    request = crafted("Route: <sip:198.51.100.7;lr>\r\n")
    assert authenticated(pbx, request, world.now)[:2] == [100, "INVITE"]
    pbx.handle_timeout(pbx.poll_timeout())  # bob has not answered: once more
    _, destination, data = pbx.poll_transmit()[0]
    assert destination == (BOB, 5060)
    assert message_untrusted(data).routes == []


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE"])
def test_a_response_that_is_for_nobody_behind_us_ends_the_request(method):
    _, pbx, _, _ = office()
    request = crafted(method=method)
    assert method in authenticated(pbx, request, 5.0)
    now = pbx.poll_timeout()
    pbx.handle_timeout(now)
    forwarded = message_untrusted(pbx.poll_transmit()[0][2])
    reply = forwarded.reply(404, tag="t")
    reply.vias = reply.vias[:1]
    pbx.handle_datagram(5060, (BOB, 5060), reply.encode(), now)
    sent = [
        message_untrusted(data) for _, destination, data in pbx.poll_transmit() if destination == STRANGER
    ]
    assert [message.status for message in sent] == [502]
    while pbx.poll_timeout() < now + 100:
        pbx.handle_timeout(pbx.poll_timeout())
    assert (pbx.transactions, pbx.proxied) == (0, [])


def test_calls_have_a_cap():
    world, pbx, _, _ = office(max_calls=5)
    for number in range(5):
        assert authenticated(pbx, crafted(call_id=f"c{number}"), world.now)[0] == 100
    assert authenticated(pbx, crafted(call_id="one-more"), world.now) == [503]
    assert len(pbx.proxied) == 5
    # Calls whose BYE was lost long ago make room.
    assert authenticated(pbx, crafted(call_id="much-later"), world.now + 15_000)[0] in (100, 480)


def test_reasons_are_safe_to_print():
    world, _, alice, bob = office()
    bob.decline = True
    call = alice.call("bob", world.now)
    world.run(0.035)
    for sent in list(world.sent):
        if sent.source[0] == BOB and b" 603 " in sent.data:
            raise AssertionError("too late to tamper")
    original = bob.poll_transmit

    def tampered():
        return [(p, d, data.replace(b"603 Decline", b"603 No\\\x1b[31m\\\x07")) for p, d, data in original()]

    bob.poll_transmit = tampered
    world.run(1)
    assert call.status == 603
    assert call.reason == "No\\\\x1b[31m\\\\x07"
    assert call.reason.isprintable()


def mutated(rng, data):
    kind = rng.randrange(4)
    at = rng.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 2:
        lines = data.split(b"\r\n")
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
        return b"\r\n".join(lines)
    other = rng.randrange(len(data))
    return data[: min(at, other)] + data[max(at, other) :]


@pytest.mark.parametrize("seed", range(6))
def test_damaged_datagrams_break_nothing(seed):
    """Everything that is said in a call is also said damaged, by the same sender, and the call goes on."""
    world = World(seed=seed)
    world.pbx()
    alice, bob = world.phone("alice", ALICE), world.phone("bob", BOB)
    rng = random.Random(seed)
    send = world.send

    def noisy(source, destination, data):
        for _ in range(2):
            damaged = mutated(rng, data)
            # Damage that makes another valid message may well end the call: only the rest is sent in here.
            try:
                message_untrusted(damaged)
            except Exception:
                send(source, destination, damaged)
        send(source, destination, data)

    world.send = noisy
    for phone in (alice, bob):
        phone.register(world.now)
    world.run(2)
    call = alice.call("bob", world.now)
    world.run(2)
    call.hold(world.now)
    world.run(2)
    call.hangup(world.now)
    world.run(40)
    assert call.state is CallState.ENDED
    assert bob.calls[0].state is CallState.ENDED


@pytest.mark.parametrize("seed", range(6))
def test_valid_nonsense_raises_nothing(seed):
    """Damaged messages that still parse may end a call; they must not raise, and a later call works."""
    world = World(seed=seed)
    pbx = world.pbx()
    alice, bob = world.phone("alice", ALICE), world.phone("bob", BOB)
    rng = random.Random(seed)
    send = world.send
    said = []

    def noisy(source, destination, data):
        said.append((source, destination, data))
        send(source, destination, mutated(rng, data))
        send(*rng.choice(said))
        send(source, destination, data)

    for phone in (alice, bob):
        phone.register(world.now)
    world.run(2)
    world.send = noisy
    for _ in range(8):
        call = rng.choice((alice, bob)).call(rng.choice(("bob", "alice", "600", "nobody")), world.now)
        world.run(rng.random())
        call.hold(world.now)
        world.run(rng.random())
        call.hangup(world.now)
        world.run(5)
    world.send = send
    world.run(400)
    for phone in (alice, bob):
        for call in phone.calls:  # a damaged Contact may have kept the peer's BYE from arriving
            call.hangup(world.now)
        phone.register(world.now)
    world.run(5)
    call = alice.call("bob", world.now, hold=1.0)
    world.run(5)
    assert call.state is CallState.ENDED
    world.run(64)
    assert pbx.transactions == 0


def test_real_media_flows_both_ways_and_stops():
    world = World()
    rng = random.Random(7)
    pbx = world.pbx(media_factory=media_with(rng))
    alice = world.phone("alice", ALICE, media_factory=media_with(rng), source=Tone())
    bob = world.phone("bob", BOB, media_factory=media_with(rng))
    for phone in (alice, bob):
        phone.register(world.now)
    world.run(1)
    call = alice.call("bob", world.now, hold=6.0)
    world.run(8)
    for end in (call, bob.calls[0]):
        heard = end.quality(world.now)
        assert heard is not None
        assert heard.received == pytest.approx(300, abs=5)
        assert heard.loss_ratio == 0
        assert heard.mos is not None
        assert heard.mos > 4.3
    assert not [s for s in world.sent if s.destination[1] != 5060 and PBX in (s.source[0], s.destination[0])]
    echo = alice.call("600", world.now, hold=4.0)
    world.run(6)
    heard = echo.quality(world.now)
    assert heard is not None
    assert heard.received == pytest.approx(200, abs=5)
    dialled = pbx.dial("600", "bob", world.now, hold=2.0)
    world.run(4)
    assert dialled.state is CallState.ENDED
    quiet = len(world.sent)
    world.run(5)
    assert not [s for s in world.sent[quiet:] if s.destination[1] != 5060]


def test_a_held_call_is_not_talked_to():
    world = World()
    rng = random.Random(7)
    world.pbx()
    alice, bob = (
        world.phone(n, a, media_factory=media_with(rng)) for n, a in (("alice", ALICE), ("bob", BOB))
    )
    for phone in (alice, bob):
        phone.register(world.now)
    world.run(1)
    call = alice.call("bob", world.now)
    world.run(2)
    call.hold(world.now)
    world.run(1)
    before = len(world.sent)
    world.run(2)
    rtp = [s for s in world.sent[before:] if s.destination == (ALICE, 16384)]
    music = [s for s in world.sent[before:] if s.destination == (BOB, 16384)]
    assert rtp == []
    assert len(music) == pytest.approx(100, abs=3)
    call.resume(world.now)
    world.run(1)
    before = len(world.sent)
    world.run(1)
    assert [s for s in world.sent[before:] if s.destination == (ALICE, 16384)]


def test_open_ports_are_those_in_use():
    world, pbx, alice, _ = office()
    assert alice.ports == (5060,)
    assert isinstance(pbx, Pbx)
    alice.call("bob", world.now)
    world.run(1)
    assert alice.ports == (5060, 16384, 16385)
    assert [alice.wants(port) for port in (5060, 16384, 16385, 16386, 5061)] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_one_seed_one_story():
    def story():
        world, _, alice, _ = office(loss=0.2, seed=5)
        alice.call("bob", world.now, hold=3.0)
        world.run(60)
        return [(sent.at, sent.source, sent.data) for sent in world.sent]

    assert story() == story()


def test_what_is_relayed_fits_into_a_datagram():
    _, pbx, _, _ = office()
    request = crafted(method="MESSAGE", body=bytes(MAX_MESSAGE - 1_000))
    assert authenticated(pbx, request, 5.0) == ["MESSAGE"]
    pbx.handle_timeout(pbx.poll_timeout())
    ((_, _, data),) = pbx.poll_transmit()
    assert MAX_MESSAGE - 1_000 < len(data) <= 65_507
    assert answers(pbx, replace(request, body=bytes(MAX_MESSAGE)), 5.0) == []
    assert pbx.dropped == {"bad_length": 1}
