"""What of aioquic is not public and we touch all the same: a new version that renames it fails here first."""

import inspect
import logging

import pytest
from aioquic import tls
from aioquic.h3.connection import H3Connection, H3Stream
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import Limit, QuicConnection, QuicConnectionId
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from quic_pair import CONNECT, Pair, server_settings
from rogue import Rogue

from edge.io.quic import QuicServer
from edge.io.quic.aioquic_backend import AioquicBackend


@pytest.fixture(scope="module")
def quic():
    quic = QuicConnection(configuration=QuicConfiguration(is_client=True))
    quic.connect(("192.0.2.1", 1), 0.0)
    return quic


@pytest.mark.parametrize(
    "name",
    [
        "_close_at",
        "_close_event",
        "_crypto_buffers",
        "_crypto_streams",
        "_cryptos",
        "_datagrams_pending",
        "_events",
        "_handshake_confirmed",
        "_is_client",
        "_local_max_data",
        "_local_max_streams_bidi",
        "_local_max_streams_uni",
        "_loss",
        "_max_datagram_size",
        "_network_paths",
        "_on_connection_limit_delivery",
        "_on_max_stream_data_delivery",
        "_packet_number",
        "_peer_cid",
        "_remote_max_datagram_frame_size",
        "_spaces",
        "_state",
        "_streams",
        "_streams_queue",
    ],
)
def test_a_connection_has(quic, name):
    assert hasattr(quic, name)


def test_other_classes_have():
    stream = QuicStream(stream_id=0)
    for thing, attributes in (
        (tls.Context(is_client=True), "_request_client_certificate _supported_groups _peer_certificate"),
        (tls.Context(is_client=True), "_peer_certificate_chain _ec_private_keys _x25519_private_key"),
        (tls.Context(is_client=True), "_x448_private_key key_schedule received_extensions"),
        (tls.Context(is_client=True), "handshake_extensions"),
        (stream.sender, "_buffer_start _buffer_stop buffer_is_empty reset_pending"),
        (stream.receiver, "_buffer_start _ranges highest_offset is_finished stop_pending"),
        (stream, "max_stream_data_local max_stream_data_local_sent"),
        (QuicPacketSpace(), "ack_at sent_packets ack_eliciting_in_flight"),
        (QuicPacketPacer(max_datagram_size=1200), "packet_time bucket_time update_bucket"),
        (Limit(0, "", 0), "frame_type sent used value"),
        (QuicConnectionId(b"", 0), "cid"),
        (H3Stream(0), "buffer"),
    ):
        for attribute in attributes.split():
            assert hasattr(thing, attribute), attribute
    assert {"congestion_window", "bytes_in_flight"} <= set(dir(QuicPacketRecovery))
    assert "_pacer" in inspect.getsource(QuicPacketRecovery.__init__)
    assert "_stream" in inspect.getsource(H3Connection.__init__)


@pytest.mark.parametrize(
    ("cls", "method", "parameters"),
    [
        (QuicConnection, "_initialize", ["peer_cid"]),
        (QuicConnection, "_parse_transport_parameters", ["data", "from_session_ticket"]),
        (QuicConnection, "_handle_ack_frame", ["context", "frame_type", "buf"]),
        (QuicConnection, "_handle_crypto_frame", ["context", "frame_type", "buf"]),
        (QuicConnection, "_handle_stream_frame", ["context", "frame_type", "buf"]),
        (QuicConnection, "_handle_datagram_frame", ["context", "frame_type", "buf"]),
        (QuicConnection, "_write_connection_limits", ["builder", "space"]),
        (QuicConnection, "_write_stream_limits", ["builder", "space", "stream"]),
        (tls.Context, "_server_handle_hello", ["input_buf", "initial_buf", "handshake_buf"]),
        (tls.Context, "_set_peer_certificate", ["certificate"]),
        (H3Connection, "_init_connection", []),
        (H3Connection, "_get_local_settings", []),
    ],
)
def test_what_we_override_is_called_as_before(cls, method, parameters):
    assert list(inspect.signature(getattr(cls, method)).parameters) == ["self", *parameters]
    assert f"self.{method}" in inspect.getsource(cls), "nobody calls it any more"


def test_the_settings_that_are_sent():
    server = QuicServer(server_settings(), now=0.0, rng=bytes)
    rogue = Rogue(server, 0.0)
    settings = dict(rogue.h3.received_settings)
    assert settings.pop(0x33) == 1  # H3_DATAGRAM
    assert settings.pop(0x8) == 1  # ENABLE_CONNECT_PROTOCOL
    assert settings.pop(0x1) == settings.pop(0x7) == 0  # QPACK: no table, no blocked streams
    assert settings.pop(0x6) == 16384  # MAX_FIELD_SECTION_SIZE
    assert 0x2B603742 not in settings  # WebTransport


def test_the_transport_parameters_that_are_sent():
    server = QuicServer(server_settings(), now=0.0, rng=bytes)
    quic = Rogue(server, 0.0).quic
    assert quic._remote_max_datagram_frame_size == 65535
    assert quic._remote_max_streams_bidi == 8
    assert quic._remote_max_streams_uni == 16
    assert quic._remote_max_idle_timeout == 30.0
    assert quic._remote_max_data == 128 << 10


def test_a_server_asks_for_a_certificate():
    server = QuicServer(server_settings(), now=0.0, rng=bytes)
    assert Rogue(server, 0.0).quic.tls._certificate_request is not None


def test_the_library_writes_no_log(caplog):
    with caplog.at_level(logging.DEBUG):
        server = QuicServer(server_settings(), now=0.0, rng=bytes)
        rogue = Rogue(server, 0.0)
        rogue.inject(b"\x1f")
        rogue.exchange(3)
    assert rogue.closed is not None
    assert caplog.records == []


def test_what_the_handshake_needed_is_forgotten():
    pair = Pair(backends=(AioquicBackend(), AioquicBackend()))
    carrier, _, _ = pair.tunnel()
    pair.run(5)
    carrier.ping()
    assert carrier.request(CONNECT) == 4
    pair.run(5)
    assert not pair.client.endpoint.carrier.ending
