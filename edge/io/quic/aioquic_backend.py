"""aioquic as a backend. Every private name of it that we touch is touched here, and pinned by a test.

What aioquic lacks for us: SETTINGS_H3_DATAGRAM, client certificates on a server, a window of flow control that
slides instead of doubling for ever, and limits on what a peer makes it keep. One module because it is where to look
when the library changes.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from math import ceil
from typing import Any

import pylsqpack
from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.h3.connection import H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import K_INITIAL_WINDOW, register_congestion_control
from aioquic.quic.connection import (
    Limit,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
    pull_quic_transport_parameters,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edge.io.quic.backend import (
    CID_LENGTH,
    REQUEST_STREAMS,
    BackendEvent,
    BodyReceived,
    CidIssued,
    CidRetired,
    Closed,
    Established,
    FieldsReceived,
    LongHeader,
    SettingsReceived,
    StreamGone,
)
from edge.io.quic.congestion import NAME, TunnelCongestionControl
from edge.io.quic.identity import load_identity
from edge.io.quic.settings import MAX_DATAGRAM_SIZE, ClientSettings, ServerSettings
from edge.io.quic.spki import public_key_untrusted
from edge.proto.masque.carrier import Headers
from edge.proto.types import NEVER, Address, BadPacket, DropReason

VERSIONS: tuple[int, ...] = (int(QuicProtocolVersion.VERSION_1),)
MAX_FRAME_SIZE = 65535  # of a DATAGRAM frame that we take
STREAM_WINDOW = 64 << 10
CONNECTION_WINDOW = 128 << 10
UNI_STREAMS = 16  # that a peer may open: HTTP/3 needs three
CRYPTO_LIMIT = 32 << 10  # octets of TLS messages per packet number space
RANGES_LIMIT = 64  # pieces of a stream that wait for what is missing between them
UNPARSED_LIMIT = 16 << 10  # octets of a HEADERS or SETTINGS frame
FIELDS_LIMIT = 16 << 10  # RFC 9114 section 4.2.2: names, values and 32 for each
PING_AFTER = 128  # acknowledgments that nobody has acknowledged: a PING gets them off our memory
UNACKNOWLEDGED_LIMIT = 2048  # and this many only pile up if the peer never acknowledges
SHORT_HEADER = 3 + 16  # first octet, packet number, AEAD tag

_CIPHERS = [
    tls.CipherSuite.AES_128_GCM_SHA256,
    tls.CipherSuite.AES_256_GCM_SHA384,
    tls.CipherSuite.CHACHA20_POLY1305_SHA256,
]
_CLIENT_GROUPS = [tls.Group.X25519, tls.Group.SECP256R1]  # each costs a key pair per handshake
_EXCESSIVE_LOAD = 0x107  # H3_EXCESSIVE_LOAD


class _PeerKey:
    """Stands for a certificate of which only the key matters."""

    def __init__(self, spki: bytes) -> None:
        self.spki = spki

    def public_key(self) -> Any:
        return load_der_public_key(self.spki)


class _Tls(tls.Context):
    """The TLS end of a connection. Set up by `_Connection`, as the class is chosen by the library."""

    asked_name: str
    peer_spki: bytes | None
    wanted_spki: bytes | None
    by_authority: bool

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        hello = tls.pull_client_hello(Buffer(data=input_buf.data_slice(0, input_buf.capacity)))
        self.asked_name = (hello.server_name or "").lower()
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        try:
            spki = public_key_untrusted(certificate.certificates[0][0])
        except BadPacket as error:
            raise tls.AlertBadCertificate(str(error)) from error
        if self.wanted_spki is not None and spki != self.wanted_spki:
            raise tls.AlertBadCertificate("not the key that is expected")
        if self.by_authority:
            super()._set_peer_certificate(certificate)
        else:
            self._peer_certificate = _PeerKey(spki)  # type: ignore[assignment]
        self.peer_spki = spki


class _Pacer(QuicPacketPacer):
    """Lets an initial window leave at once (RFC 9002 section 7.7): what comes together, like calls, goes together."""

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        super().update_rate(congestion_window, smoothed_rtt)
        assert self.packet_time is not None
        self.bucket_max = max(self.bucket_max, K_INITIAL_WINDOW * self.packet_time)


class _Quic(QuicConnection):
    """A connection that keeps no more than it should, and hands DATAGRAM frames over in batches."""

    tls: _Tls

    def __init__(
        self,
        configuration: QuicConfiguration,
        *,
        original_cid: bytes | None = None,
        retry_cid: bytes | None = None,
        server_key: bytes | None = None,
        by_authority: bool = False,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_cid,
            retry_source_connection_id=retry_cid,
        )
        self._server_key, self._by_authority = server_key, by_authority
        self._loss._pacer = _Pacer(max_datagram_size=configuration.max_datagram_size)
        self.inbox: list[bytes] = []
        bidi, uni = self._local_max_streams_bidi, self._local_max_streams_uni
        bidi.value = bidi.sent = 0 if configuration.is_client else REQUEST_STREAMS
        uni.value = uni.sent = UNI_STREAMS

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls.__class__ = _Tls
        self.tls.asked_name, self.tls.peer_spki = "", None
        self.tls.wanted_spki, self.tls.by_authority = self._server_key, self._by_authority
        if self._is_client:
            self.tls._supported_groups = list(_CLIENT_GROUPS)
        else:
            self.tls._request_client_certificate = True

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        largest = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        if largest is not None:
            self._max_datagram_size = min(self._max_datagram_size, largest)

    # -- what comes in --

    def _handle_ack_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        if buf.pull_uint_var() >= self._packet_number:
            # RFC 9000 section 13.1. Nothing that is in flight could be lost by the others' measure.
            raise QuicConnectionError(
                QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "acknowledges what was never sent"
            )
        buf.seek(start)
        super()._handle_ack_frame(context, frame_type, buf)

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        if buf.pull_uint_var() + buf.pull_uint_var() > CRYPTO_LIMIT:
            raise QuicConnectionError(
                QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "more TLS messages than we keep"
            )
        buf.seek(start)
        super()._handle_crypto_frame(context, frame_type, buf)
        self._check_ranges(self._crypto_streams[context.epoch], frame_type)

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        number = buf.pull_uint_var()
        buf.seek(start)
        super()._handle_stream_frame(context, frame_type, buf)
        stream = self._streams.get(number)
        if stream is not None:
            self._check_ranges(stream, frame_type)

    def _check_ranges(self, stream: QuicStream, frame_type: int) -> None:
        if len(stream.receiver._ranges) > RANGES_LIMIT:
            raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, frame_type, "more pieces than we keep")

    def _handle_datagram_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        # No datagram is larger than MAX_FRAME_SIZE, so there is nothing to check.
        if frame_type == QuicFrameType.DATAGRAM_WITH_LENGTH:
            length = buf.pull_uint_var()
        else:
            length = buf.capacity - buf.tell()
        self.inbox.append(buf.pull_bytes(length))

    # -- flow control: a window ahead of what was read --

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data, bidi, uni = self._local_max_data, self._local_max_streams_bidi, self._local_max_streams_uni
        if data.value - data.used < CONNECTION_WINDOW // 2:
            receivers = [s.receiver for s in self._streams.values() if not s.receiver.is_finished]
            unread = sum(r.highest_offset - r.starting_offset() for r in receivers)
            data.value = max(data.value, data.used - unread + CONNECTION_WINDOW)
        if data.value != data.sent:
            self._write_limit(builder, data)
        for limit in (bidi, uni):
            # Wait until the peer has fewer streams left to open than it would be granted.
            if limit.value != limit.sent and limit.sent - limit.used < limit.value - limit.sent:
                self._write_limit(builder, limit)

    def _write_limit(self, builder: QuicPacketBuilder, limit: Limit) -> None:
        frame = builder.start_frame(
            limit.frame_type, capacity=9, handler=self._on_connection_limit_delivery, handler_args=(limit,)
        )
        frame.push_uint_var(limit.value)
        limit.sent = limit.value

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        limit = stream.max_stream_data_local
        receiver = stream.receiver
        if not limit or receiver.is_finished:
            return
        if limit - receiver._buffer_start < STREAM_WINDOW // 2:
            limit = stream.max_stream_data_local = receiver._buffer_start + STREAM_WINDOW
        if limit != stream.max_stream_data_local_sent:
            frame = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=17,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            frame.push_uint_var(stream.stream_id or 0)
            frame.push_uint_var(limit)
            stream.max_stream_data_local_sent = limit


class _H3(H3Connection):
    """HTTP/3 with HTTP datagrams; without a dynamic QPACK table, which a peer could blow up, and without pushes."""

    def _init_connection(self) -> None:
        self._max_push_id = None
        self._decoder = pylsqpack.Decoder(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        return super()._get_local_settings() | {
            Setting.H3_DATAGRAM: 1,
            Setting.QPACK_MAX_TABLE_CAPACITY: 0,
            Setting.QPACK_BLOCKED_STREAMS: 0,
            Setting.MAX_FIELD_SECTION_SIZE: FIELDS_LIMIT,
        }

    def unparsed(self, stream: int) -> int:
        """Octets of the stream that wait for the rest of their frame."""
        state = self._stream.get(stream)
        return len(state.buffer) if state is not None else 0


class _Connection:
    """See ``BackendConnection``."""

    def __init__(self, quic: _Quic, cid: bytes, peer: Address | None) -> None:
        self._quic = quic
        self._h3: _H3 | None = None
        self._peer = peer
        self._established = self._settings_seen = self._trimmed = False
        self._abandoned: set[int] = (
            set()
        )  # whose end the peer has not reached: at most the streams it may open
        self.cid = cid

    @property
    def peer(self) -> Address:
        address: Address | None = self._quic.get_peer_address() or self._peer
        assert address is not None
        return address

    @property
    def begun(self) -> bool:
        return self._quic._state is not QuicConnectionState.FIRSTFLIGHT

    @property
    def server_name(self) -> str:
        configured = self._quic.configuration
        return (configured.server_name or "") if configured.is_client else self._quic.tls.asked_name

    @property
    def peer_key(self) -> bytes | None:
        return self._quic.tls.peer_spki if self._established else None

    @property
    def closed(self) -> Closed | None:
        event, state = self._quic._close_event, self._quic._state
        if event is None:
            return None
        code = None if state is QuicConnectionState.TERMINATED else int(event.error_code)
        by_peer = state is QuicConnectionState.DRAINING
        return Closed(by_peer, code, event.frame_type is not None, event.reason_phrase)

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        self._quic.receive_datagram(datagram, source, now)

    def datagrams(self) -> list[bytes]:
        inbox = self._quic.inbox
        if inbox:
            self._quic.inbox = []
        return inbox

    def events(self) -> list[BackendEvent]:
        quic = self._quic
        if not quic._events:
            return []
        happened: list[BackendEvent] = []
        while (event := quic.next_event()) is not None:
            match event:
                case quic_events.StreamDataReceived():
                    happened += self._heard(event)
                case quic_events.StreamReset() | quic_events.StopSendingReceived():
                    happened += self._broken(event)
                case quic_events.ConnectionIdIssued(connection_id=cid):
                    happened.append(CidIssued(cid))
                case quic_events.ConnectionIdRetired(connection_id=cid):
                    happened.append(CidRetired(cid))
                case quic_events.ProtocolNegotiated():
                    self._h3 = _H3(quic)
                case quic_events.HandshakeCompleted():
                    self._established = True
                    happened.append(Established())
        if quic._handshake_confirmed and not self._trimmed:
            self._trim()
        return happened

    def _heard(self, event: quic_events.StreamDataReceived) -> list[BackendEvent]:
        stream, h3 = event.stream_id, self._h3
        if stream in self._abandoned:
            if event.end_stream:
                self._abandoned.discard(stream)
            return []
        assert h3 is not None
        happened: list[BackendEvent] = []
        for seen in h3.handle_event(event):
            match seen:
                case HeadersReceived(headers=headers, stream_ended=ended):
                    if sum(len(name) + len(value) + 32 for name, value in headers) > FIELDS_LIMIT:
                        self._quic.close(_EXCESSIVE_LOAD, reason_phrase="field section too large")
                        return []
                    happened.append(FieldsReceived(stream, headers, ended))
                case DataReceived(data=data, stream_ended=ended):
                    happened.append(BodyReceived(stream, data, ended))
        if h3.unparsed(stream) > UNPARSED_LIMIT:
            self._quic.close(_EXCESSIVE_LOAD, reason_phrase="frame too large")
        if not self._settings_seen and (settings := h3.received_settings) is not None:
            self._settings_seen = True
            datagrams = bool(settings.get(Setting.H3_DATAGRAM))
            happened.append(SettingsReceived(datagrams, bool(settings.get(Setting.ENABLE_CONNECT_PROTOCOL))))
        return happened

    def _broken(self, event: quic_events.StreamReset | quic_events.StopSendingReceived) -> list[BackendEvent]:
        stream = event.stream_id
        if isinstance(event, quic_events.StreamReset) and stream in self._abandoned:
            self._abandoned.discard(stream)
            return []
        if self._h3 is not None:
            self._h3.handle_event(event)
        unwanted = isinstance(event, quic_events.StopSendingReceived)
        return [StreamGone(stream, event.error_code, unwanted)] if stream % 4 == 0 else []

    def _trim(self) -> None:
        """The handshake is confirmed: forget what only it needed, about half of a connection's memory."""
        self._trimmed = True
        quic, context = self._quic, self._quic.tls
        quic._crypto_buffers = {}
        context.handshake_extensions = []
        context.received_extensions = None
        context._ec_private_keys = []
        context._x25519_private_key = context._x448_private_key = None
        context._peer_certificate = context.key_schedule = None
        context._peer_certificate_chain = []

    def timer(self) -> float:
        at = self._quic.get_timer() if self._quic._close_at is not None else None
        return NEVER if at is None else at

    def handle_timer(self, now: float) -> None:
        self._quic.handle_timer(now)

    # -- HTTP/3 --

    def open_stream(self) -> int:
        return self._quic.get_next_available_stream_id()

    def send_headers(self, stream: int, headers: Headers, end: bool) -> None:
        assert self._h3 is not None
        self._h3.send_headers(stream, headers, end)

    def send_data(self, stream: int, data: bytes, end: bool) -> None:
        assert self._h3 is not None
        self._h3.send_data(stream, data, end)

    def abandon(self, stream: int, code: int) -> None:
        quic, h3 = self._quic, self._h3
        known = quic._streams.get(stream)
        if known is None or h3 is None:
            return
        quic.reset_stream(stream, code)
        if not known.receiver.is_finished:
            quic.stop_stream(stream, code)
            self._abandoned.add(stream)
        # H3Connection knows of no reset of ours: it learns of both ends as if the peer had gone.
        h3.handle_event(quic_events.StopSendingReceived(error_code=code, stream_id=stream))
        h3.handle_event(quic_events.StreamReset(error_code=code, stream_id=stream))

    def unsent(self) -> int:
        senders = [stream.sender for stream in self._quic._streams.values()]
        return sum(sender._buffer_stop - sender._buffer_start for sender in senders)

    # -- sending --

    def frame_room(self) -> int:
        quic = self._quic
        taken = quic._remote_max_datagram_frame_size
        if not taken:
            return 0
        room = min(quic._max_datagram_size - SHORT_HEADER - len(quic._peer_cid.cid), taken)
        # Type and length go before the payload; a length above 63 takes two octets.
        return max(0, room - 2 if room <= 65 else max(63, room - 3))

    def budget(self, now: float) -> int:
        loss, waiting = self._quic._loss, self._quic._datagrams_pending
        room = loss.congestion_window - loss.bytes_in_flight
        pacer = loss._pacer
        if pacer.packet_time is not None:
            pacer.update_bucket(now)
            room = min(room, ceil(pacer.bucket_time / pacer.packet_time) * self._quic._max_datagram_size)
        return max(0, room - sum(map(len, waiting)))

    def feed(self, frames: list[bytes]) -> None:
        self._quic._datagrams_pending.extend(frames)

    @property
    def fed(self) -> int:
        return len(self._quic._datagrams_pending)

    def fed_with(self, prefix: bytes) -> int:
        return sum(frame.startswith(prefix) for frame in self._quic._datagrams_pending)

    def take_back(self, prefix: bytes) -> int:
        return self._keep([f for f in self._quic._datagrams_pending if not f.startswith(prefix)])

    def shrink(self) -> int:
        room = self.frame_room()
        return self._keep([frame for frame in self._quic._datagrams_pending if len(frame) <= room])

    def _keep(self, frames: list[bytes]) -> int:
        """Of those that were fed; returns how many are gone."""
        waiting = self._quic._datagrams_pending
        gone = len(waiting) - len(frames)
        if gone:
            waiting.clear()
            waiting.extend(frames)
        return gone

    def streams_wait(self) -> bool:
        return any(
            not stream.sender.buffer_is_empty or stream.sender.reset_pending or stream.receiver.stop_pending
            for stream in self._quic._streams_queue
        )

    def can_wait(self) -> bool:
        quic = self._quic
        return (
            quic._handshake_confirmed
            and quic._spaces[tls.Epoch.ONE_RTT].ack_at is not None
            and quic._close_event is None
            and not quic._datagrams_pending
        )

    def flush(self, now: float) -> list[tuple[bytes, Address]]:
        quic = self._quic
        if not quic._network_paths:
            return []
        if quic._handshake_confirmed and quic._close_event is None:
            space = quic._spaces[tls.Epoch.ONE_RTT]
            if len(space.sent_packets) > PING_AFTER:
                silent = len(space.sent_packets) - space.ack_eliciting_in_flight
                if silent > UNACKNOWLEDGED_LIMIT:
                    quic.close(_EXCESSIVE_LOAD, reason_phrase="acknowledges nothing")
                elif not space.ack_eliciting_in_flight:
                    quic.send_ping(0)
        datagrams = quic.datagrams_to_send(now)
        if datagrams and len(quic._streams_queue) > 1:
            # The library keeps those that it served in a set, whose order is that of their addresses in memory.
            quic._streams_queue.sort(key=_by_number)
        return datagrams

    def ping(self) -> None:
        self._quic.send_ping(0)

    def change_cid(self) -> None:
        self._quic.change_connection_id()

    def close(self, code: int, reason: str, *, transport: bool) -> None:
        self._quic.close(code, QuicFrameType.PADDING if transport else None, reason)


def _by_number(stream: QuicStream) -> int:
    return stream.stream_id or 0


class _KeyLog:
    """A file, as the library wants one for TLS secrets."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, line: str) -> None:
        self._write(line.rstrip("\n"))

    def flush(self) -> None:
        pass


class _Listener:
    def __init__(self, settings: ServerSettings, congestion: str) -> None:
        chain, key = load_identity(settings.certificate, settings.private_key)
        self._configuration = QuicConfiguration(
            is_client=False,
            certificate=chain[0],
            certificate_chain=chain[1:],
            private_key=key,
            **_common(settings, congestion),
        )

    def accept(self, original_cid: bytes, retry_cid: bytes | None) -> _Connection:
        quic = _Quic(self._configuration, original_cid=original_cid, retry_cid=retry_cid)
        return _Connection(quic, quic.host_cid, None)


class AioquicBackend:
    """See ``QuicBackend``."""

    versions: tuple[int, ...] = VERSIONS

    def __init__(self, congestion: str = NAME) -> None:
        """`congestion` is the algorithm: ours, or one that the library brings (reno, cubic)."""
        self._congestion = congestion
        register_congestion_control(NAME, TunnelCongestionControl)
        # It warns of what a peer does wrong, once for each: a stranger's way into our logs. We have events instead.
        logging.getLogger("quic").disabled = True

    def listen(self, settings: ServerSettings) -> _Listener:
        return _Listener(settings, self._congestion)

    def dial(self, settings: ClientSettings, peer: Address, now: float) -> _Connection:
        by_authority = settings.authority is not None or settings.server_key is None
        if settings.authority is not None and not tls.load_pem_x509_certificates(settings.authority):
            raise ValueError("no certificate of an authority in the PEM")
        configuration = QuicConfiguration(
            is_client=True,
            server_name=settings.server_name,
            cadata=settings.authority,
            verify_mode=ssl.CERT_REQUIRED if by_authority else ssl.CERT_NONE,
            **_common(settings, self._congestion),
        )
        if settings.certificate is not None:
            chain, configuration.private_key = load_identity(
                settings.certificate, settings.private_key or b""
            )
            configuration.certificate, configuration.certificate_chain = chain[0], chain[1:]
        quic = _Quic(configuration, server_key=settings.server_key, by_authority=by_authority)
        quic.connect(peer, now)
        return _Connection(quic, quic.host_cid, peer)

    def parse_untrusted(self, datagram: bytes) -> LongHeader:
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=CID_LENGTH)
        except ValueError as error:
            raise BadPacket(DropReason.MALFORMED, str(error)) from error
        initial = header.packet_type is QuicPacketType.INITIAL
        return LongHeader(
            header.version or 0, initial, header.destination_cid, header.source_cid, header.token
        )

    def version_negotiation(self, header: LongHeader) -> bytes:
        return encode_quic_version_negotiation(
            source_cid=header.destination, destination_cid=header.source, supported_versions=list(VERSIONS)
        )

    def retry(self, header: LongHeader, cid: bytes, token: bytes) -> bytes:
        return encode_quic_retry(
            version=header.version,
            source_cid=cid,
            destination_cid=header.source,
            original_destination_cid=header.destination,
            retry_token=token,
        )

    def refusal(self, header: LongHeader, code: int) -> bytes:
        crypto = CryptoPair()
        crypto.setup_initial(cid=header.destination, is_client=False, version=header.version)
        builder = QuicPacketBuilder(
            host_cid=header.destination,
            is_client=False,
            max_datagram_size=MAX_DATAGRAM_SIZE,
            peer_cid=header.source,
            version=header.version,
        )
        builder.start_packet(QuicPacketType.INITIAL, crypto)
        frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=25)
        frame.push_uint_var(code)
        frame.push_uint_var(QuicFrameType.PADDING)
        frame.push_uint_var(0)
        datagrams, _ = builder.flush()
        return datagrams[0]


def _common(settings: ServerSettings | ClientSettings, congestion: str) -> dict[str, Any]:
    return {
        "alpn_protocols": ["h3"],
        "cipher_suites": list(_CIPHERS),
        "congestion_control_algorithm": congestion,
        "connection_id_length": CID_LENGTH,
        "idle_timeout": settings.idle_timeout,
        "max_data": CONNECTION_WINDOW,
        "max_datagram_frame_size": MAX_FRAME_SIZE,
        "max_datagram_size": MAX_DATAGRAM_SIZE,
        "max_stream_data": STREAM_WINDOW,
        "secrets_log_file": None if settings.on_secret is None else _KeyLog(settings.on_secret),
        "supported_versions": list(VERSIONS),
    }
