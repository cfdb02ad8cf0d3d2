"""Who is who: certificates of clients as keys, certificates of servers by CA or by key."""

from __future__ import annotations

import ssl
import warnings

import pytest
from OpenSSL import SSL

from edge.io.http2 import ClientSettings, Http2Server
from edge.io.http2.tls import TlsChannel, TlsFailed, client_context, server_context
from edge.proto.masque.carrier import CarrierClosed, CarrierReady
from tests.edge.io.http2 import identities
from tests.edge.io.http2.pair import Pair, client_settings, server_settings


def closed(pair: Pair) -> tuple[str, str]:
    """Why it ended, for the client and for the server."""
    pair.settle()
    ends = [events[-1] for events in (pair.client_events, pair.server_events)]
    assert all(isinstance(end, CarrierClosed) for end in ends)
    assert len(pair.server) == 0
    return ends[0].reason, ends[1].reason


@pytest.mark.parametrize("serial", [0, 7])
def test_a_client_is_known_by_its_key_whatever_its_certificate_is_like(serial):
    identity = identities.client(serial=serial)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # our own client reads its own certificate, which is not as it should be
        settings = client_settings(certificate=identity.certificate, private_key=identity.private_key)
        pair = Pair(client=settings)
    pair.settle()
    assert pair.accepted.peer_key == identity.public_key


def test_a_client_without_a_certificate_has_no_key():
    pair = Pair()
    pair.settle()
    assert pair.server_events == [CarrierReady(pair.accepted)]
    assert pair.accepted.peer_key is None


def test_a_stolen_certificate_is_not_enough():
    """The key is proven: a certificate with another private key does not even make a client."""
    mine, other = identities.client(), identities.client()
    with pytest.raises(ValueError, match="does not belong"):
        client_context(client_settings(certificate=other.certificate, private_key=mine.private_key))


def test_a_server_is_known_by_its_ca_and_name():
    settings = ClientSettings(identities.SERVER_NAME, ca=identities.authority()[1])
    pair = Pair(client=settings)
    pair.settle()
    assert pair.client_events == [CarrierReady(pair.client.carrier)]


REFUSED = {
    "other name": (ClientSettings("other.example", ca=identities.authority()[1]), "not for other.example"),
    "other address": (ClientSettings("192.0.2.1", ca=identities.authority()[1]), "not for 192.0.2.1"),
    "other CA": (ClientSettings(identities.SERVER_NAME, ca=identities.client().certificate), "verify failed"),
    "other key": (
        ClientSettings(identities.SERVER_NAME, pinned_key=identities.client().public_key),
        "another key than the pinned one",
    ),
}


@pytest.mark.parametrize(("settings", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_server_that_is_somebody_else(settings, why):
    pair = Pair(client=settings)
    client, server = closed(pair)
    assert why in client
    assert server
    assert pair.client.counters.tls_failed == 1
    for events in (pair.client_events, pair.server_events):
        assert not any(isinstance(event, CarrierReady) for event in events)


def test_a_pinned_server_may_have_any_name_and_the_client_asks_for_the_one_it_was_told():
    settings = ClientSettings("consumer.example", pinned_key=identities.server().public_key)
    pair = Pair(client=settings)
    pair.settle()
    assert pair.accepted.server_name == "consumer.example"
    pair = Pair(client=ClientSettings("192.0.2.1", pinned_key=identities.server().public_key))
    pair.settle()
    assert pair.accepted.server_name == ""  # RFC 6066 section 3: an address is no name


def standard_client(**changes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in changes.items():
        setattr(context, name, value)
    return context


class Foreign:
    """Another TLS implementation's client (the standard library's) against a channel of ours."""

    def __init__(
        self,
        context: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
        server: SSL.Context | None = None,
    ) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=identities.SERVER_NAME, session=session
        )
        self.channel = TlsChannel(server or server_context(server_settings()))
        for _ in range(4):
            try:
                self.tls.do_handshake()
                self.tls.read(100)
            except ssl.SSLWantReadError:
                pass
            try:
                self.channel.receive(self.outgoing.read())
            finally:
                self.incoming.write(self.channel.poll())


@pytest.mark.parametrize("offer", [[], ["http/1.1"], ["h3", "http/1.1"]])
def test_who_does_not_speak_h2_is_refused(offer):
    context = standard_client()
    if offer:
        context.set_alpn_protocols(offer)
    with pytest.raises(TlsFailed, match="h2"):
        Foreign(context)


def test_tls_1_2_is_refused():
    context = standard_client(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["h2"])
    with pytest.raises(TlsFailed, match="protocol"):
        Foreign(context)


def test_nobody_resumes_since_resumption_asks_for_no_certificate(tmp_path):
    identity = identities.client()
    file = tmp_path / "client.pem"
    file.write_bytes(identity.certificate + identity.private_key)
    context = standard_client()
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(file)
    server = server_context(server_settings())
    first = Foreign(context, None, server)
    again = Foreign(context, first.tls.session, server)
    assert not again.tls.session_reused
    assert again.channel.established and again.channel.peer_key == identity.public_key


def test_keys_are_logged_for_who_asks():
    lines: list[bytes] = []
    pair = Pair(server=server_settings(key_log=lines.append))
    pair.settle()
    assert any(line.startswith(b"CLIENT_TRAFFIC_SECRET_0 ") for line in lines)


@pytest.mark.parametrize(
    "changes",
    [{"private_key": b"?"}, {"certificate": b"?"}, {"private_key": identities.client().private_key}],
)
def test_a_server_that_cannot_be_is_told_at_once(changes):
    with pytest.raises(ValueError):
        Http2Server(server_settings(**changes), now=0.0, rng=bytes)


def test_settings_are_whole_and_tell_no_secret():
    identity = identities.client()
    with pytest.raises(ValueError, match="either"):
        ClientSettings("a.example")
    with pytest.raises(ValueError, match="together"):
        ClientSettings("a.example", pinned_key=b"x", certificate=identity.certificate)
    settings = client_settings(certificate=identity.certificate, private_key=identity.private_key)
    assert "PRIVATE KEY" not in repr(settings) + repr(server_settings())
