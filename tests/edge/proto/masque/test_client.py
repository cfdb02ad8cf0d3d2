"""A client's session: what it asks for, what it makes of answers and capsules, and how it ends."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.address import (
    AssignedAddress,
    RequestedAddress,
    decode_address_assign,
    encode_address_assign,
    encode_address_request,
)
from edge.proto.masque.capsule import CapsuleParser, CapsuleType, encode_capsule
from edge.proto.masque.carrier import DatagramsReceived, HttpVersion, RequestReceived
from edge.proto.masque.client import EARLY_DATAGRAMS, ClientSession, SessionState
from edge.proto.masque.credential import Credential
from edge.proto.masque.refusal import refuse
from edge.proto.masque.request import Dialect, accept_headers
from edge.proto.masque.route import AddressRange, encode_route_advertisement
from edge.proto.masque.template import DEFAULT_TEMPLATE, Template
from edge.proto.types import DropReason
from tests.edge.proto.masque.wire import connection

H3, H2 = HttpVersion.H3, HttpVersion.H2
VERSIONS = pytest.mark.parametrize("version", [H3, H2])
OWN, ANY4, ANY6 = ip_address("100.96.0.12").packed, bytes(4), bytes(16)
PACKET = b"\x45 a packet"


class Client:
    """A session on a connection whose other end is worked by hand."""

    def __init__(self, version=H3, *, dialect=Dialect.STANDARD, ready=True):
        self.near, self.far = connection(version)
        self.session = ClientSession(
            authority="pop.example:443",
            template=Template.parse(DEFAULT_TEMPLATE),
            credential=Credential("", b"secret") if dialect is Dialect.STANDARD else None,
            dialect=dialect,
        )
        self.stream = -1
        if ready:
            self.take()
            requests = [e for e in self.far.poll_events() if isinstance(e, RequestReceived)]
            self.stream, self.headers = requests[0].stream, dict(requests[0].headers)

    def take(self):
        return [bytes(packet) for packet in self.session.handle(self.near.poll_events())]

    def up(self):
        self.far.respond(self.stream, accept_headers())
        self.take()
        assert self.session.state is SessionState.UP
        return self

    def hear(self, *payloads):
        """Datagrams of the PoP; returns what comes of them."""
        self.far.send_datagrams(self.stream, list(payloads))
        self.far.flush()
        return self.take()


def sent(client):
    client.near.flush()
    return [
        payload
        for event in client.far.poll_events()
        if isinstance(event, DatagramsReceived)
        for payload in event.payloads
    ]


@VERSIONS
def test_it_asks_once_the_carrier_is_ready_and_is_up_with_the_answer(version):
    client = Client(version)
    assert client.headers[b":protocol"] == b"connect-ip"
    assert client.headers[b"authorization"] == b"Bearer secret"
    assert client.session.state is SessionState.CONNECTING
    client.up()
    assert client.session.status == 200
    assert client.hear(b"\0" + PACKET, b"\0" + PACKET) == [PACKET, PACKET]


def test_packets_have_a_context_id_but_in_the_warp_dialect_over_http2():
    for version, dialect, wanted in (
        (H3, Dialect.STANDARD, b"\0" + PACKET),
        (H2, Dialect.STANDARD, b"\x00\x0b\0" + PACKET),  # as a capsule
        (H3, Dialect.WARP, b"\0" + PACKET),
        (H2, Dialect.WARP, b"\x00\x0a" + PACKET),
    ):
        client = Client(version, dialect=dialect).up()
        client.session.seal([bytearray(PACKET)])
        client.near.flush()
        (event,) = client.far.poll_events()
        assert (event.payloads[0] if version is H3 else event.data) == wanted.replace(
            b"\x0b", bytes([len(PACKET) + 1])
        ).replace(b"\x0a", bytes([len(PACKET)]))
        assert client.hear(PACKET if wanted.endswith(b"\x0a" + PACKET) else b"\0" + PACKET) == [PACKET]


def test_the_warp_dialect_says_who_it_is_by_its_certificate_only():
    client = Client(dialect=Dialect.WARP)
    assert client.headers[b":protocol"] == b"cf-connect-ip" and b"authorization" not in client.headers


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
@VERSIONS
def test_a_refusal_is_told_apart_from_a_loss(version, status):
    client = Client(version)
    client.far.respond(client.stream, refuse(status, "no").headers, end=True)
    client.take()
    assert (client.session.state, client.session.status) == (SessionState.REFUSED, status)
    client.session.seal([bytearray(PACKET)])
    assert client.session.drops == {DropReason.TUNNEL_DOWN: 1}


def test_what_comes_after_a_refusal_changes_nothing():
    client = Client()
    client.far.respond(client.stream, refuse(403, "no").headers)
    client.far.send_data(client.stream, encode_address_assign([AssignedAddress((OWN, 32))]))
    client.far.die()
    client.take()
    client.near.die()
    client.take()
    assert client.session.state is SessionState.REFUSED and not client.session.assigned


ENDS = {
    "a clean end": lambda c: c.far.end(c.stream),
    "a reset": lambda c: c.far.reset(c.stream, 0x10C),
    "the end of the connection": lambda c: c.far.close(0x100),
    "an idle timeout": lambda c: c.near.die(reason="idle"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@VERSIONS
def test_however_it_ends_it_is_down(version, end):
    client = Client(version).up()
    client.session.seal([bytearray(PACKET)])
    end(client)
    client.take()
    assert client.session.state is SessionState.DOWN and client.session.reason
    before = client.session.drops.total()
    client.session.seal([bytearray(PACKET)])
    assert client.session.drops.total() == before + 1


def test_a_connection_that_never_comes_about_is_down_as_well():
    client = Client(ready=False)
    client.near.events.clear()
    client.near.die()
    client.take()
    assert (client.session.state, client.session.reason) == (SessionState.DOWN, "the PoP does not answer")


def test_leaving_ends_the_stream():
    client = Client().up()
    client.session.end()
    (event,) = client.far.poll_events()
    assert event.ended and client.session.state is SessionState.DOWN


def test_datagrams_may_overtake_the_answer_and_are_bounded():
    client = Client()
    many = [b"\0" + PACKET + b"%d" % number for number in range(EARLY_DATAGRAMS + 3)]
    assert client.hear(*many) == []
    client.far.respond(client.stream, accept_headers())
    assert client.take() == [each[1:] for each in many[:EARLY_DATAGRAMS]]
    assert client.session.drops == {DropReason.UNKNOWN_SESSION: 3}


def test_datagrams_of_another_stream_or_context_are_counted_drops():
    client = Client().up()
    other = DatagramsReceived(client.near, client.stream + 4, [b"\0" + PACKET])
    assert client.session.handle([other]) == []
    assert client.hear(b"\x02" + PACKET) == []
    assert client.session.drops == {DropReason.UNKNOWN_SESSION: 1, DropReason.MALFORMED: 1}


def test_it_knows_what_it_was_told_last():
    client = Client().up()
    say = client.far.send_data
    say(client.stream, encode_address_assign([AssignedAddress((OWN, 32)), AssignedAddress((ANY6, 128))]))
    ranges = [AddressRange(bytes([10, 0, 0, 0]), bytes([10, 0, 0, 255]))]
    say(client.stream, encode_route_advertisement(ranges))
    client.take()
    assert len(client.session.assigned) == 2 and client.session.routes == ranges
    say(client.stream, encode_address_assign([AssignedAddress((OWN, 32))]) + encode_route_advertisement([]))
    client.take()
    assert client.session.assigned == [AssignedAddress((OWN, 32))] and client.session.routes == []


def test_a_pop_that_asks_for_addresses_is_declined():
    """RFC 9484 4.7.2: each request is answered; a client has none to give."""
    client = Client().up()
    requests = [RequestedAddress((ANY4, 32), 1), RequestedAddress((ANY6, 64), 5)]
    client.far.send_data(client.stream, encode_address_request(requests))
    client.take()
    (answer,) = CapsuleParser().feed(client.near.data[client.stream]).others
    assert decode_address_assign(answer.value) == [
        AssignedAddress((ANY4, 32), 1), AssignedAddress((ANY6, 128), 5)
    ]  # fmt: skip


BAD = {
    "host bits": encode_capsule(CapsuleType.ADDRESS_ASSIGN, b"\0\4" + bytes([10, 0, 0, 1]) + b"\x08"),
    "routes out of order": encode_capsule(
        CapsuleType.ROUTE_ADVERTISEMENT, b"\4" + bytes([10, 0, 0, 9]) + bytes([10, 0, 0, 1]) + b"\0"
    ),
    "a request for nothing": encode_capsule(CapsuleType.ADDRESS_REQUEST, b""),
    "a request id that is used again": encode_address_request([RequestedAddress((ANY4, 32), 1)]) * 2,
    "requests without end": b"".join(
        encode_address_request([RequestedAddress((ANY4, 32), number)]) for number in range(1, 300)
    ),
    "a length without end": b"\x01" + b"\xff" * 8,
}


@pytest.mark.parametrize("capsule", BAD.values(), ids=BAD)
@VERSIONS
def test_a_malformed_capsule_ends_the_session(version, capsule):
    client = Client(version).up()
    client.far.send_data(client.stream, capsule)
    client.take()
    assert client.near.resets == {client.stream: 0x10E if version is H3 else 0x1}
    assert client.session.state is SessionState.DOWN and client.session.drops == {DropReason.MALFORMED: 1}


def test_a_stream_cut_inside_a_capsule_is_malformed():
    client = Client().up()
    client.far.send_data(client.stream, b"\x01\x07\x00", end=True)
    client.take()
    assert client.session.reason.startswith("malformed") and client.near.resets


def test_a_path_that_carries_no_ipv6_is_no_session():
    """RFC 9484 section 10.1; what we may send is not what the PoP may send."""
    client = Client()
    client.near.room = 1280
    client.far.respond(client.stream, accept_headers())
    client.take()
    assert client.session.state is SessionState.DOWN and "narrow" in client.session.reason
    assert client.near.resets == {client.stream: 0x10C}


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from([H3, H2]))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_octets_of_the_pop_raise_nothing(pieces, version):
    client = Client(version).up()
    for piece in pieces:
        client.far.send_data(client.stream, piece)
        client.near.events.append(DatagramsReceived(client.near, client.stream, [piece]))
        client.take()


def test_the_token_does_not_show():
    client = Client().up()
    assert "secret" not in f"{client.session} {vars(client.session)}"
