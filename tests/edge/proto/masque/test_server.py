"""Sessions of CONNECT-IP at the PoP: who gets one, what it is told, which of several is answered, what is counted."""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import TCP, UDP, build_udp
from edge.proto.masque.address import (
    AssignedAddress,
    RequestedAddress,
    decode_address_assign,
    encode_address_assign,
    encode_address_request,
)
from edge.proto.masque.capsule import CapsuleParser, CapsuleType, encode_capsule, encode_datagrams
from edge.proto.masque.carrier import (
    DatagramsReceived,
    DataReceived,
    HttpVersion,
    RequestReceived,
    ResponseReceived,
)
from edge.proto.masque.credential import Credential
from edge.proto.masque.request import request_headers, warp_request_headers
from edge.proto.masque.route import (
    ANY_PROTOCOL,
    AddressRange,
    decode_route_advertisement,
    encode_route_advertisement,
)
from edge.proto.masque.server import (
    ACCESS_DENIED,
    CAPSULES_LIMIT,
    EARLY_DATAGRAMS,
    EARLY_OCTETS,
    EARLY_SECONDS,
    MINIMUM_MTU,
    REFUSALS_LIMIT,
    MasqueServer,
    SessionDown,
    SessionMoved,
    SessionRefused,
    SessionUp,
)
from edge.proto.masque.template import DEFAULT_TEMPLATE, Template
from edge.proto.masque.tunnel import SESSIONS_LIMIT, MasqueTunnel
from edge.proto.types import DropReason
from tests.edge.proto.masque.wire import End, connection

H3, H2 = HttpVersion.H3, HttpVersion.H2
VERSIONS = pytest.mark.parametrize("version", [H3, H2])
WARP_NAME = "consumer-masque.cloudflareclient.com"
TEMPLATE = Template.parse(DEFAULT_TEMPLATE)
KEY = b"the public key of bob's device"
OTHER_KEY = b"the public key of nobody's device"


def ip(text):
    return ip_address(text).packed


def prefix(text):
    network = ip_network(text)
    return network.network_address.packed, network.prefixlen


ALICE, ALICE6, PEER = ip("100.96.0.12"), ip("fd00::12"), ip("10.1.0.9")
ROUTES = (prefix("10.0.0.0/8"), prefix("100.96.0.0/24"), prefix("fd00::/64"))


def packet(to=PEER, *, source=ALICE, payload=b"hello"):
    return bytes(build_udp(source, to, 4000, 5000, payload))


class Pop:
    """A PoP with alice, who has a token, and bob, who has a key; and clients that are worked by hand."""

    def __init__(self):
        self.now = 100.0
        self.server = MasqueServer(TEMPLATE, warp_names=[WARP_NAME])
        self.alice = MasqueTunnel(
            "alice", token_sha256=sha256(b"secret").digest(), addresses=(ALICE, ALICE6), routes=ROUTES
        )
        self.bob = MasqueTunnel("bob", client_key=KEY, addresses=(ip("100.96.0.13"),), routes=ROUTES)
        for tunnel in (self.alice, self.bob):
            self.server.add_tunnel(tunnel)
        self.told = []
        self.ends = []

    def connect(self, version=H3, **rest):
        """A client's end whose handshake is done."""
        near, far = connection(version, **rest)
        self.ends.append(far)
        self.take()
        return near

    def take(self):
        """What the carriers tell; returns the packets that come out, with the names of their tunnels."""
        runs = []
        while events := [event for end in self.ends for event in end.poll_events()]:
            runs += self.server.handle(events, self.now)
        self.told += self.server.poll_events()
        return [(tunnel.name, bytes(each)) for tunnel, packets in runs for each in packets]

    def say(self, *events):
        return [
            (tunnel.name, bytes(each))
            for tunnel, packets in self.server.handle(events, self.now)
            for each in packets
        ]

    def seen(self, kind):
        return [event for event in self.told if isinstance(event, kind)]

    def session(self, version=H3, *, near=None, token=b"secret", user="", target="*", ipproto="*"):
        """A standard session of alice's; returns the client's end and the stream."""
        near = near or self.connect(version)
        headers = request_headers(
            TEMPLATE, "pop.example", target=target, ipproto=ipproto, credential=Credential(user, token)
        )
        stream = near.request(headers)
        self.take()
        return near, stream

    def warp(self, version=H3, *, near=None, key=KEY):
        near = near or self.connect(version, server_name=WARP_NAME, peer_key=key)
        stream = near.request(warp_request_headers("cloudflareaccess.com", version))
        self.take()
        return near, stream


def status(near, stream):
    """Of the response; None if there was none."""
    found = [e for e in near.events if isinstance(e, ResponseReceived) and e.stream == stream]
    return int(dict(found[0].headers)[b":status"]) if found else None


def received(near, stream, *, bare=False):
    """The packets that reached the client so far."""
    near.far.flush()
    parser, payloads = CapsuleParser(), []
    for event in near.poll_events():
        if isinstance(event, DatagramsReceived) and event.stream == stream:
            payloads += event.payloads
        elif isinstance(event, DataReceived) and event.stream == stream:
            payloads += parser.feed(event.data).datagrams
    return payloads if bare else [payload.removeprefix(b"\0") for payload in payloads]


def capsules(near, stream):
    """All that the PoP has said on the stream."""
    return CapsuleParser().feed(near.far.data.get(stream, b"")).others


def send(pop, near, stream, *packets, bare=False):
    """Packets of the client; returns what the PoP makes of them."""
    near.send_datagrams(stream, [each if bare else b"\0" + each for each in packets])
    near.flush()
    return pop.take()


# -- who gets a session --


@VERSIONS
def test_a_token_gets_a_session_and_is_told_its_addresses_and_what_it_can_reach(version):
    pop = Pop()
    near, stream = pop.session(version)
    assert status(near, stream) == 200
    assigned, routes = capsules(near, stream)
    assert assigned.type == CapsuleType.ADDRESS_ASSIGN and routes.type == CapsuleType.ROUTE_ADVERTISEMENT
    assert decode_address_assign(assigned.value) == [
        AssignedAddress((ALICE, 32)), AssignedAddress((ALICE6, 128))
    ]  # fmt: skip
    assert decode_route_advertisement(routes.value) == [
        AddressRange(ip("10.0.0.0"), ip("10.255.255.255")),
        AddressRange(ip("100.96.0.0"), ip("100.96.0.255")),
        AddressRange(ip("fd00::"), ip("fd00::ffff:ffff:ffff:ffff")),
    ]
    assert send(pop, near, stream, packet()) == [("alice", packet())]
    pop.server.seal(pop.alice, [bytearray(packet(ALICE, source=PEER))])
    assert received(near, stream) == [packet(ALICE, source=PEER)]
    assert [type(event) for event in pop.told] == [SessionUp]
    assert pop.server.sessions == {version: 1}


@pytest.mark.parametrize(
    ("user", "token", "found"),
    [
        ("", b"secret", 200),  # Bearer
        ("alice", b"secret", 200),  # Basic
        ("bob", b"secret", 401),  # a token is one tunnel's, whatever user it is shown with
        ("alice", b"wrong", 401),
        ("", b"wrong", 401),
    ],
)
@VERSIONS
def test_credentials(version, user, token, found):
    pop = Pop()
    near, stream = pop.session(version, user=user, token=token)
    assert status(near, stream) == found
    if found == 401:
        assert not pop.alice.sessions and not near.far.data[stream]
        (event,) = pop.seen(SessionRefused)
        assert (event.status, event.version, event.peer) == (401, version, near.far.peer)
        assert token.decode() not in repr(event)
        headers = next(e.headers for e in near.events if isinstance(e, ResponseReceived))
        assert [name for name, _ in headers].count(b"www-authenticate") == 2


def test_who_shows_nothing_is_asked_for_it():
    pop = Pop()
    near = pop.connect()
    stream = near.request(request_headers(TEMPLATE, "pop.example"))
    pop.take()
    assert status(near, stream) == 401


def test_a_client_certificate_is_a_credential_of_the_standard_dialect_as_well():
    pop = Pop()
    near = pop.connect(peer_key=KEY)
    stream = near.request(request_headers(TEMPLATE, "pop.example"))
    pop.take()
    assert status(near, stream) == 200 and len(pop.bob.sessions) == 1
    assert [c.type for c in capsules(near, stream)] == [
        CapsuleType.ADDRESS_ASSIGN, CapsuleType.ROUTE_ADVERTISEMENT
    ]  # fmt: skip


def test_a_wrong_token_is_not_made_good_by_a_certificate_nor_a_strange_certificate_by_nothing():
    pop = Pop()
    near, stream = pop.session(near=pop.connect(peer_key=KEY), token=b"wrong")
    assert status(near, stream) == 401
    near = pop.connect(peer_key=OTHER_KEY)
    stream = near.request(request_headers(TEMPLATE, "pop.example"))
    pop.take()
    assert status(near, stream) == 401 and not pop.bob.sessions


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({b":method": b"GET"}, 405),
        ({b":protocol": b"connect-udp"}, 501),
        ({b":scheme": b"http"}, 400),
        ({b":path": b"/elsewhere"}, 404),
        ({b":path": b"/.well-known/masque/ip/10.0.0.1%2F8/*/"}, 400),  # host bits
        ({b":path": b"/.well-known/masque/ip/*/256/"}, 400),
        ({b":path": b"/.well-known/masque/ip/unknown.example/*/"}, 502),
    ],
)
@VERSIONS
def test_requests_that_are_refused_leave_the_session_beside_them_alone(version, change, found):
    pop = Pop()
    near, good = pop.session(version)
    headers = dict(request_headers(TEMPLATE, "pop.example", credential=Credential("", b"secret")))
    stream = near.request(list({**headers, **change}.items()))
    pop.take()
    assert status(near, stream) == found and pop.server.refusals == {found: 1}
    assert send(pop, near, good, packet()) == [("alice", packet())]


def test_after_so_many_refusals_a_carrier_is_closed_and_others_are_not():
    pop = Pop()
    other, stream = pop.session()
    near = pop.connect()
    for _ in range(REFUSALS_LIMIT):
        assert near.far.closed is None
        pop.session(near=near, token=b"wrong")
    assert near.far.closed == (0x107, "too many refused requests", False)  # H3_EXCESSIVE_LOAD
    assert send(pop, other, stream, packet()) == [("alice", packet())]


def test_over_http2_that_is_enhance_your_calm():
    pop = Pop()
    near = pop.connect(H2)
    for _ in range(REFUSALS_LIMIT):
        pop.session(near=near, token=b"wrong")
    assert near.far.closed is not None and near.far.closed[0] == 0xB


def test_a_session_of_a_carrier_that_we_close_is_over_at_once():
    pop = Pop()
    near, _ = pop.session()
    for _ in range(REFUSALS_LIMIT):
        near.request(request_headers(TEMPLATE, "pop.example"))
    pop.say(*near.far.poll_events())  # and not yet that it is closed
    assert not pop.alice.is_up(pop.now)
    pop.server.seal(pop.alice, [bytearray(packet())])
    assert pop.alice.lost == {DropReason.TUNNEL_DOWN: 1}


def test_a_path_that_carries_no_ipv6_gets_no_session():
    pop = Pop()
    near = pop.connect()
    near.far.room = MINIMUM_MTU  # a context id less
    _, stream = pop.session(near=near)
    assert status(near, stream) == 400 and not pop.alice.sessions
    near.far.room = MINIMUM_MTU + 1
    _, stream = pop.session(near=near)
    assert status(near, stream) == 200


def test_a_request_that_ends_at_once_is_a_session_that_is_over():
    pop = Pop()
    near = pop.connect()
    stream = near.request(request_headers(TEMPLATE, "pop.example", credential=Credential("", b"secret")))
    (request,) = near.far.poll_events()
    pop.say(RequestReceived(near.far, stream, request.headers, ended=True))
    assert not pop.alice.sessions and not pop.alice.is_up(pop.now)
    assert [type(event) for event in pop.server.poll_events()] == [SessionUp, SessionDown]


def test_a_credential_is_one_tunnels():
    pop = Pop()
    with pytest.raises(ValueError, match="already"):
        pop.server.add_tunnel(MasqueTunnel("eve", token_sha256=sha256(b"secret").digest()))
    with pytest.raises(ValueError, match="already"):
        pop.server.add_tunnel(MasqueTunnel("eve", token_sha256=sha256(b"other").digest(), client_key=KEY))
    assert set(pop.server.tunnels.values()) == {pop.alice, pop.bob}


def test_reconfigured_paths_are_for_requests_from_now_on():
    pop = Pop()
    near, old = pop.session()
    pop.server.reconfigure(Template.parse("/vpn"), [])
    _, stream = pop.session(near=near)
    assert status(near, stream) == 404
    assert send(pop, near, old, packet()) == [("alice", packet())]


# -- the WARP dialect --


@VERSIONS
def test_the_warp_dialect_gets_no_capsule_at_all(version):
    pop = Pop()
    near, stream = pop.warp(version)
    bare = version is H2  # then there is no context id either
    assert status(near, stream) == 200
    assert send(pop, near, stream, packet(), bare=bare) == [("bob", packet())]
    near.send_data(stream, encode_address_request([RequestedAddress((bytes(4), 32), 1)]))
    everything = AddressRange(bytes(4), b"\xff" * 4)
    near.send_data(stream, encode_route_advertisement([everything]))  # as mihomo does
    pop.take()
    pop.server.configure(pop.bob, (ip("100.96.0.77"),), (prefix("10.9.0.0/16"),))
    pop.take()
    assert not near.far.data[stream]
    assert pop.bob.routes == (prefix("10.9.0.0/16"),)  # what it says is no route
    pop.server.seal(pop.bob, [bytearray(packet())])
    assert received(near, stream, bare=True) == [packet() if bare else b"\0" + packet()]


def test_over_http3_a_bare_packet_is_none_and_over_http2_a_context_id_is_part_of_it():
    pop = Pop()
    near, stream = pop.warp(H3)
    assert send(pop, near, stream, packet(), bare=True) == []
    assert pop.server.drops == {DropReason.MALFORMED: 1}
    near, stream = pop.warp(H2)
    assert send(pop, near, stream, packet()) == [("bob", b"\0" + packet())]


@pytest.mark.parametrize("key", [None, OTHER_KEY])
def test_over_http3_an_unknown_key_is_refused_when_the_handshake_is_done(key):
    """Access_denied, and an empty reason: only then clients take it for a refused login."""
    pop = Pop()
    near = pop.connect(H3, server_name=WARP_NAME.upper(), peer_key=key)
    assert near.far.closed == (ACCESS_DENIED, "", True)
    assert ACCESS_DENIED == 0x100 + 49
    assert pop.server.refusals == {403: 1}


@pytest.mark.parametrize("key", [None, OTHER_KEY])
def test_over_http2_an_unknown_key_is_told_by_status(key):
    """TLS that ends without a word after the handshake leaves some clients waiting for ever."""
    pop = Pop()
    near = pop.connect(H2, server_name=WARP_NAME, peer_key=key)
    assert near.far.closed is None and pop.server.refusals == {}
    near, stream = pop.warp(H2, near=near)
    assert status(near, stream) == 403 and near.far.closed is None
    assert pop.server.refusals == {403: 1} and len(pop.seen(SessionRefused)) == 1


def test_an_unknown_key_under_another_name_is_told_by_status():
    pop = Pop()
    near, stream = pop.warp(near=pop.connect(peer_key=OTHER_KEY))
    assert status(near, stream) == 403 and near.far.closed is None


@VERSIONS
def test_a_request_that_came_with_the_handshake_of_an_unknown_key_is_not_refused_again(version):
    pop = Pop()
    near, far = connection(version, server_name=WARP_NAME, peer_key=OTHER_KEY)
    near.request(warp_request_headers("cloudflareaccess.com", version))
    pop.ends.append(far)
    pop.take()
    assert pop.server.refusals == {403: 1} and len(pop.seen(SessionRefused)) == 1
    assert not pop.bob.sessions


# -- which session is answered --


def answered(pop, tunnel, *places):
    """Which of `places` (client's end, stream) a packet for the tunnel goes to."""
    for near, stream in places:
        received(near, stream)
    pop.server.seal(tunnel, [bytearray(packet())])
    return [index for index, (near, stream) in enumerate(places) if received(near, stream)]


@VERSIONS
def test_the_newest_standard_session_is_answered_at_once(version):
    pop = Pop()
    old = pop.session(H3)
    pop.now += 1
    new = pop.session(version)
    assert answered(pop, pop.alice, old, new) == [1]
    assert send(pop, *old, packet()) == [("alice", packet())]  # what was under way still arrives
    assert answered(pop, pop.alice, old, new) == [1]  # but does not turn it back
    assert pop.alice.handshakes == 2 and pop.alice.last_handshake == pop.now


def test_of_warp_clients_the_newest_is_answered_once_it_has_sent():
    """They dial each second while the old connection lives."""
    pop = Pop()
    old = pop.warp()
    pop.now += 1
    new = pop.warp()
    assert answered(pop, pop.bob, old, new) == [0]
    assert send(pop, *new, packet()) == [("bob", packet())]
    assert answered(pop, pop.bob, old, new) == [1]
    assert send(pop, *old, packet()) == [("bob", packet())]
    assert answered(pop, pop.bob, old, new) == [1]


def test_when_the_answered_session_is_over_the_latest_of_the_others_is():
    pop = Pop()
    first, second, third = (pop.session() for _ in range(3))
    third[0].die()
    third[0].far.die(reason="idle")
    pop.take()
    assert answered(pop, pop.alice, first, second) == [1]
    assert pop.seen(SessionDown)[-1].reason == "idle"


def test_a_tunnel_has_so_many_sessions_and_no_more():
    pop = Pop()
    places = [pop.session() for _ in range(SESSIONS_LIMIT + 1)]
    assert len(pop.alice.sessions) == SESSIONS_LIMIT
    assert pop.alice.endpoint is not None
    near, stream = places[0]
    assert any(isinstance(e, DataReceived) and e.ended and e.stream == stream for e in near.events)
    assert pop.seen(SessionDown)[-1].reason == "replaced"
    assert answered(pop, pop.alice, *places) == [SESSIONS_LIMIT]


def test_the_session_in_use_does_not_go_for_ones_that_say_nothing():
    pop = Pop()
    used = pop.warp()
    places = [pop.warp() for _ in range(2 * SESSIONS_LIMIT)]
    assert len(pop.bob.sessions) == SESSIONS_LIMIT
    assert answered(pop, pop.bob, used, *places) == [0]


def test_a_change_of_http_version_is_counted():
    pop = Pop()
    for version in (H3, H3, H2, H2, H3):
        send(pop, *pop.session(version), packet())
    assert pop.server.switches == {H2: 1, H3: 1}


def test_the_only_session_is_the_version_though_it_says_nothing():
    pop = Pop()
    for version in (H3, H2, H3):
        near, stream = pop.session(version)
        near.end(stream)
        near.flush()
        pop.take()
    assert pop.server.switches == {H2: 1, H3: 1}
    near, stream = pop.session(H3)
    pop.session(H2)
    near.end(stream)
    near.flush()
    pop.take()
    assert pop.server.switches == {H2: 2, H3: 1}, "what is left is taken"


def test_a_session_beside_one_in_use_that_says_nothing_is_no_change_of_version():
    """Of two ways that come up at once, a client leaves one before it has used it."""
    pop = Pop()
    near, stream = pop.session(H3)
    send(pop, near, stream, packet())
    pop.session(H2)
    send(pop, near, stream, packet())
    assert not pop.server.switches


def test_several_sessions_on_one_carrier_are_several():
    pop = Pop()
    near = pop.connect(peer_key=KEY)
    _, first = pop.session(near=near)
    _, second = pop.warp(near=near)
    assert send(pop, near, first, packet()) == [("alice", packet())]
    assert send(pop, near, second, packet()) == [("bob", packet())]
    near.reset(first, 0x10C)
    pop.take()
    assert send(pop, near, second, packet()) == [("bob", packet())]
    assert not pop.alice.sessions


def test_a_peer_that_moves_is_told_of_per_session():
    pop = Pop()
    near, _ = pop.session()
    near.far.move(("198.51.100.99", 1))
    pop.take()
    (moved,) = pop.seen(SessionMoved)
    assert (moved.before, pop.alice.endpoint) == (("198.51.100.7", 40000), ("198.51.100.99", 1))


# -- early and odd datagrams --


def early(near, stream, *packets):
    return DatagramsReceived(near.far, stream, [b"\0" + each for each in packets])


def accepted(near):
    """A request of alice's, not yet taken."""
    headers = request_headers(TEMPLATE, "pop.example", credential=Credential("", b"secret"))
    stream = near.request(headers)
    return stream, near.far.poll_events()


def test_datagrams_that_overtake_their_request_are_kept_for_it():
    pop = Pop()
    near = pop.connect()
    stream, request = accepted(near)
    assert pop.say(early(near, stream, packet(), packet(payload=b"2")), early(near, 8, packet())) == []
    pop.now += EARLY_SECONDS
    assert pop.say(*request) == [("alice", packet()), ("alice", packet(payload=b"2"))]
    assert not pop.server.drops  # the other stream's still wait


def test_but_not_for_long_and_not_many():
    pop = Pop()
    near = pop.connect()
    stream, request = accepted(near)
    pop.say(early(near, stream, packet()))
    pop.now += EARLY_SECONDS + 0.1
    assert pop.say(*request) == []
    assert pop.server.drops == {DropReason.UNKNOWN_SESSION: 1}
    near = pop.connect()
    stream, request = accepted(near)
    many = [packet(payload=b"%d" % number) for number in range(3 * EARLY_DATAGRAMS)]
    pop.say(early(near, stream, *many[:40]), early(near, stream, *many[40:]))
    assert [each for _, each in pop.say(*request)] == many[-EARLY_DATAGRAMS:]
    assert pop.server.drops == {DropReason.UNKNOWN_SESSION: 1 + 2 * EARLY_DATAGRAMS}


def test_nor_large_ones():
    pop = Pop()
    near = pop.connect()
    stream, request = accepted(near)
    large = packet(payload=bytes(60_000))
    pop.say(*[early(near, stream, large)] * 5)
    kept = pop.say(*request)
    assert sum(len(each) for _, each in kept) <= EARLY_OCTETS
    assert len(kept) + pop.server.drops[DropReason.UNKNOWN_SESSION] == 5


def test_what_waits_for_a_request_that_never_comes_is_counted_with_the_end_of_its_carrier():
    pop = Pop()
    near = pop.connect()
    pop.say(early(near, 0, packet(), packet()))
    near.far.die()
    pop.take()
    assert pop.server.drops == {DropReason.UNKNOWN_SESSION: 2}


def test_a_datagram_for_a_session_that_is_over_is_nobodys():
    pop = Pop()
    near, stream = pop.session()
    near.end(stream)
    pop.take()
    assert pop.say(early(near, stream, *[packet()] * (EARLY_DATAGRAMS + 1))) == []
    assert pop.server.drops[DropReason.UNKNOWN_SESSION] >= 1
    assert not pop.alice.sessions


def test_contexts_that_nobody_registered_and_empty_datagrams_are_counted_drops():
    pop = Pop()
    near, stream = pop.session()
    good = b"\x40\x00" + packet()  # context id 0 in two bytes (RFC 9000 section 16)
    payloads = [b"", b"\0", b"\x02" + packet(), b"\x40", good]
    assert pop.say(DatagramsReceived(near.far, stream, payloads)) == [("alice", packet())]
    assert pop.server.drops == {DropReason.MALFORMED: 4}


# -- scope (RFC 9484 4.6) --


def test_scope_holds_both_ways():
    pop = Pop()
    near, stream = pop.session(target="10.1.0.0/16", ipproto=str(UDP))
    outside, wrong = packet(ip("10.2.0.1")), bytearray(packet(payload=b"hello TCP, there"))
    wrong[9] = TCP
    wrong[10:12] = (int.from_bytes(wrong[10:12]) + UDP - TCP).to_bytes(2)
    assert send(pop, near, stream, packet(), outside, bytes(wrong)) == [("alice", packet())]
    assert pop.server.drops == {DropReason.OUT_OF_SCOPE: 2}
    to_client = [bytearray(packet(ALICE, source=ip(source))) for source in ("10.1.0.1", "10.2.0.1")]
    pop.server.seal(pop.alice, to_client)
    assert received(near, stream) == [packet(ALICE, source=ip("10.1.0.1"))]
    assert pop.alice.lost == {DropReason.OUT_OF_SCOPE: 1}
    _, routes = capsules(near, stream)
    assert decode_route_advertisement(routes.value) == [AddressRange(ip("10.1.0.0"), ip("10.1.255.255"), UDP)]


def test_what_is_no_packet_is_left_to_who_forwards():
    pop = Pop()
    near, stream = pop.session(target="10.1.0.0/16")
    assert send(pop, near, stream, b"\x45rubbish") == [("alice", b"\x45rubbish")]


# -- capsules of clients --


def asked(pop, near, stream, *requests):
    """What the PoP answers."""
    before = len(capsules(near, stream))
    near.send_data(stream, encode_address_request(list(requests)))
    pop.take()
    return [decode_address_assign(c.value) for c in capsules(near, stream)[before:]]


def test_who_asks_for_an_address_of_each_family_gets_its_own():
    """As Xray does, right after the response."""
    pop = Pop()
    near, stream = pop.session()
    any4, any6 = RequestedAddress((bytes(4), 32), 1), RequestedAddress((bytes(16), 128), 2)
    assert asked(pop, near, stream, any4, any6) == [
        [AssignedAddress((ALICE, 32), 1), AssignedAddress((ALICE6, 128), 2)]
    ]


def test_what_it_cannot_have_is_declined_and_what_it_has_is_still_told():
    pop = Pop()
    near, stream = pop.session()
    foreign = RequestedAddress((ip("192.0.2.9"), 32), 7)
    second, third = RequestedAddress((bytes(4), 32), 8), RequestedAddress((bytes(16), 128), 9)
    (answer,) = asked(pop, near, stream, foreign, second, third)
    assert answer == [
        AssignedAddress((ALICE, 32), 7),  # instead of the one that it asked for
        AssignedAddress((bytes(4), 32), 8),
        AssignedAddress((ALICE6, 128), 9),
    ]
    assert answer[1].is_refusal
    (answer,) = asked(pop, near, stream, RequestedAddress((ALICE6, 128), 10))
    assert answer == [AssignedAddress((ALICE6, 128), 10), AssignedAddress((ALICE, 32))]


def test_a_site_without_an_address_of_its_own_is_declined():
    pop = Pop()
    pop.server.configure(pop.alice, (), ROUTES)
    near, stream = pop.session()
    assert decode_address_assign(capsules(near, stream)[0].value) == []
    (answer,) = asked(pop, near, stream, RequestedAddress((bytes(4), 24), 1))
    assert answer == [AssignedAddress((bytes(4), 32), 1)] and answer[0].is_refusal


MALFORMED = {
    "a request id that is used again": encode_address_request([RequestedAddress((bytes(4), 32), 1)]) * 2,
    "a request for nothing": encode_capsule(CapsuleType.ADDRESS_REQUEST, b""),
    "request id 0": encode_capsule(CapsuleType.ADDRESS_REQUEST, b"\0\4" + bytes(4) + b"\x20"),
    "host bits": encode_capsule(CapsuleType.ADDRESS_ASSIGN, b"\1\4" + ip("10.0.0.1") + b"\x08"),
    "a route that ends before it starts": encode_capsule(
        CapsuleType.ROUTE_ADVERTISEMENT, b"\4" + ip("10.0.0.9") + ip("10.0.0.1") + b"\0"
    ),
    "a length without end": b"\x01" + b"\xff" * 8,
    "a million routes": b"\x03\x80" + (10**6 * 10).to_bytes(3) + bytes(100),
    "requests without end": b"".join(
        encode_address_request([RequestedAddress((bytes(4), 32), number)]) for number in range(1, 300)
    ),
    "capsules without end": encode_address_assign([]) * (CAPSULES_LIMIT + 1),
}


@pytest.mark.parametrize("capsule", MALFORMED.values(), ids=MALFORMED)
@VERSIONS
def test_a_malformed_capsule_costs_its_stream_and_nothing_else(version, capsule):
    pop = Pop()
    near, stream = pop.session(version, near=pop.connect(version, peer_key=KEY))
    beside, elsewhere = pop.warp(version, near=near), pop.warp(version)
    near.send_data(stream, capsule)
    assert pop.take() == []
    assert near.far.resets == {stream: 0x10E if version is H3 else 0x1} and near.far.closed is None
    assert not pop.alice.sessions and pop.server.drops == {DropReason.MALFORMED: 1}
    (down,) = pop.seen(SessionDown)
    assert down.session.tunnel is pop.alice and down.reason.startswith("malformed")
    for place in (beside, elsewhere):
        assert send(pop, *place, packet(), bare=version is H2) == [("bob", packet())]
    _, again = pop.session(version, near=near)
    assert status(near, again) == 200


def test_a_stream_that_ends_inside_a_capsule_is_malformed():
    pop = Pop()
    near, stream = pop.session()
    near.send_data(stream, b"\x01\x07\x00", end=True)
    pop.take()
    assert near.far.resets == {stream: 0x10E} and not pop.alice.sessions


def test_unknown_capsules_are_skipped_and_datagrams_may_come_as_capsules_over_http3():
    pop = Pop()
    near, stream = pop.session()
    whole = encode_capsule(0x29, b"grease") + encode_datagrams([b"\0" + packet()]) + encode_address_assign([])
    found = []
    for octet in whole:
        near.send_data(stream, bytes([octet]))
        found += pop.take()
    assert found == [("alice", packet())] and not near.far.resets


# -- what changes while a session lives --


def test_sessions_are_told_what_is_new_and_only_that():
    pop = Pop()
    near, stream = pop.session()
    narrow, inside = pop.session(target="10.1.0.0/16")
    before = len(capsules(near, stream))
    pop.server.configure(pop.alice, (ALICE, ALICE6), ROUTES)
    assert len(capsules(near, stream)) == before
    pop.server.configure(pop.alice, (ALICE,), ROUTES)
    pop.server.configure(pop.alice, (ALICE,), (prefix("10.1.2.0/24"), prefix("10.9.0.0/16")))
    assigned, routes = capsules(near, stream)[before:]
    assert decode_address_assign(assigned.value) == [AssignedAddress((ALICE, 32))]
    assert decode_route_advertisement(routes.value) == [
        AddressRange(ip("10.1.2.0"), ip("10.1.2.255")), AddressRange(ip("10.9.0.0"), ip("10.9.255.255"))
    ]  # fmt: skip
    assert decode_route_advertisement(capsules(narrow, inside)[-1].value) == [
        AddressRange(ip("10.1.2.0"), ip("10.1.2.255"), ANY_PROTOCOL)
    ]


def test_a_tunnel_that_is_removed_is_gone_at_once():
    pop = Pop()
    near, stream = pop.session()
    near.far.send_datagrams(stream, [b"\0" + packet()])
    pop.server.remove_tunnel(pop.alice)
    assert any(isinstance(e, DataReceived) and e.ended for e in near.events)
    assert received(near, stream) == []
    assert send(pop, near, stream, packet()) == []
    _, again = pop.session(near=near)
    assert status(near, again) == 401
    assert pop.alice.lost == {DropReason.TUNNEL_DOWN: 1} and not pop.alice.sessions
    pop.server.add_tunnel(MasqueTunnel("eve", token_sha256=sha256(b"secret").digest()))  # it is free


def test_draining_ends_every_stream_cleanly_and_closes_nothing():
    pop = Pop()
    places = [pop.session(), pop.session(H2), pop.warp()]
    pop.server.drain()
    for near, stream in places:
        assert any(isinstance(e, DataReceived) and e.ended and e.stream == stream for e in near.events)
        assert near.far.closed is None and not near.far.resets
    assert not pop.alice.sessions and not pop.bob.sessions


# -- accounting --


def test_without_a_session_packets_die_counted_and_are_told_of():
    pop = Pop()
    lost = []
    pop.server.on_lost = lambda tunnel, packets: lost.append((tunnel.name, len(packets)))
    pop.server.seal(pop.alice, [bytearray(packet())] * 3)
    assert pop.alice.lost == {DropReason.TUNNEL_DOWN: 3} and lost == [("alice", 3)]


def test_settling_lets_what_waits_die_and_begins_anew():
    """After a reload nothing leaves that was decided before, perhaps in another network."""
    pop = Pop()
    near, stream = pop.session()
    pop.server.seal(pop.alice, [bytearray(packet())] * 300)  # more than wait
    assert pop.alice.waiting == 256
    assert pop.alice.settle() == {DropReason.QUEUE_FULL: 44, DropReason.TUNNEL_DOWN: 256}
    assert not pop.alice.waiting and not pop.alice.lost.total()
    assert received(near, stream) == []
    pop.server.seal(pop.alice, [bytearray(packet())])
    assert received(near, stream) == [packet()]  # the session lives on


STEPS = st.one_of(
    st.tuples(st.just("seal"), st.integers(1, 150)),
    st.tuples(st.just("flush"), st.integers(1, 100)),
    st.tuples(
        st.sampled_from(["session", "narrow", "big", "settle", "refuse", "drain", "remove"]), st.none()
    ),
    st.tuples(st.sampled_from(["end", "reset", "die", "malformed", "close"]), st.integers(0, 5)),
)


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_packet_is_out_dead_or_waiting_at_any_moment(steps):
    pop = Pop()
    places: list[tuple[End, int]] = []
    handed = left = settled = 0
    tunnel = pop.alice
    for what, number in steps:
        near, stream = places[number % len(places)] if places and number is not None else (None, 0)
        if what == "seal":
            handed += number
            pop.server.seal(tunnel, [bytearray(packet(ALICE, source=PEER)) for _ in range(number)])
        elif what == "flush":
            left += sum(end.flush(number) for end in pop.ends)
        elif what == "big":
            handed += 1
            pop.server.seal(tunnel, [bytearray(packet(payload=bytes(1400)))])
        elif what in ("session", "narrow"):
            places.append(pop.session(target="*" if what == "session" else "10.2.0.0/16"))
        elif what == "settle":
            settled += tunnel.settle().total()
        elif what == "drain":
            pop.server.drain()
        elif what == "remove":
            settled += tunnel.settle().total()
            pop.server.remove_tunnel(tunnel)
            settled += tunnel.lost.total()
            tunnel = pop.alice = MasqueTunnel("alice", token_sha256=tunnel.token_sha256, addresses=(ALICE,))
            pop.server.add_tunnel(tunnel)
        elif what == "refuse" and places:
            for _ in range(REFUSALS_LIMIT):
                places[-1][0].request(request_headers(TEMPLATE, "pop.example"))
            pop.say(*places[-1][0].far.poll_events())
        elif near is not None:
            if what == "end":
                near.end(stream)
            elif what == "reset":
                near.reset(stream, 0)
            elif what == "die":
                near.far.die()
            elif what == "malformed":
                near.send_data(stream, MALFORMED["request id 0"])
            else:
                near.close(0x100)
            pop.take()
        assert handed == left + settled + tunnel.lost.total() + tunnel.waiting
    pop.take()
    assert len(tunnel.sessions) <= SESSIONS_LIMIT
    assert (tunnel.current is None) == (not tunnel.sessions)


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from([H3, H2]))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_octets_of_a_stranger_raise_nothing(pieces, version):
    pop = Pop()
    near, stream = pop.session(version)
    for piece in pieces:
        near.send_data(stream, piece)
        if version is H3:
            near.far.events.append(DatagramsReceived(near.far, stream, [piece]))
        pop.take()
    pop.session(version)
    assert len(pop.alice.sessions) in (1, 2)


def test_nothing_of_a_credential_shows():
    pop = Pop()
    pop.session()
    text = f"{pop.told} {pop.alice} {pop.alice.sessions} {pop.server}"
    assert "secret" not in text and sha256(b"secret").hexdigest() not in text
