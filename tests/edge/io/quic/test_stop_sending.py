"""A server that has seen enough of a request may stop it and answer all the same (RFC 9114 section 4.1)."""

import pytest
from aioquic.buffer import Buffer
from aioquic.h3.connection import H3Connection, Setting
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ProtocolNegotiated
from aioquic.quic.packet import pull_quic_header
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from quic_pair import CLIENT, CONNECT, OK, SERVER, client_settings, identity, read

from edge.io.quic import QuicClient
from edge.proto.masque.carrier import CarrierReady, ResponseReceived, StreamAborted

H3_NO_ERROR, H3_REQUEST_REJECTED = 0x100, 0x10B
UNAUTHORIZED = [(b":status", b"401"), (b"www-authenticate", b'Basic realm="elsewhere"')]


class H3(H3Connection):
    def _get_local_settings(self):
        return {**super()._get_local_settings(), Setting.H3_DATAGRAM: 1}


class Server:
    """One by other people, and our client at it; datagrams need no time."""

    def __init__(self):
        self.now = 1000.0
        self.client = QuicClient(client_settings(), SERVER, now=self.now)
        certificate, key, _ = identity("ecdsa")
        self._configuration = QuicConfiguration(
            is_client=False, alpn_protocols=["h3"], max_datagram_frame_size=65535
        )
        self._configuration.certificate = x509.load_pem_x509_certificate(certificate)
        self._configuration.private_key = load_pem_private_key(key, None)
        self.quic = self.h3 = None
        self.events = []  # of the client
        self.requests = []
        self.exchange()
        assert any(isinstance(event, CarrierReady) for event in self.events)

    def exchange(self):
        for _ in range(8):
            self.now += 0.001
            for _, datagrams in self.client.poll_transmit(self.now):
                for datagram in datagrams:
                    self._take(datagram)
            answers = [read(d, SERVER) for d, _ in self.quic.datagrams_to_send(self.now)]
            if answers:
                self.client.receive(answers, self.now)
            self.events += self.client.poll_events()

    def _take(self, datagram):
        if self.quic is None:
            asked = pull_quic_header(Buffer(data=datagram), host_cid_length=8).destination_cid
            self.quic = QuicConnection(
                configuration=self._configuration, original_destination_connection_id=asked
            )
        self.quic.receive_datagram(datagram, CLIENT, self.now)
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, ProtocolNegotiated):
                self.h3 = H3(self.quic)
            if self.h3 is not None:
                seen = self.h3.handle_event(event)
                self.requests += [each for each in seen if isinstance(each, HeadersReceived)]

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def asked():
    """A server with a request, and its stream."""
    server = Server()
    stream = server.client.carrier.request(CONNECT)
    server.exchange()
    assert server.requests
    return server, stream


def test_an_answer_that_follows_is_heard(asked):
    server, stream = asked
    server.quic.stop_stream(stream, H3_NO_ERROR)
    server.exchange()
    assert server.seen(StreamAborted) == []
    server.h3.send_headers(stream, UNAUTHORIZED, end_stream=True)
    server.exchange()
    (response,) = server.seen(ResponseReceived)
    assert (response.headers[0], response.ended) == ((b":status", b"401"), True)
    assert server.seen(StreamAborted) == []


def test_any_other_reason_is_the_end(asked):
    server, stream = asked
    server.quic.stop_stream(stream, H3_REQUEST_REJECTED)
    server.exchange()
    assert [event.code for event in server.seen(StreamAborted)] == [H3_REQUEST_REJECTED]


def test_a_tunnel_that_is_up_cannot_lose_one_direction_only(asked):
    server, stream = asked
    server.h3.send_headers(stream, OK)
    server.exchange()
    server.quic.stop_stream(stream, H3_NO_ERROR)
    server.exchange()
    assert [event.code for event in server.seen(StreamAborted)] == [H3_NO_ERROR]
