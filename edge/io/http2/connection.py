"""One HTTP/2 connection (RFC 9113) that carries CONNECT-IP, either end: extended CONNECT (RFC 8441) or ordinary.

Datagrams are DATAGRAM capsules in DATA frames (RFC 9297 section 3.5). TCP delivers all it ever accepted, in order, so
what shall die early has to die here: datagrams wait in a bounded queue in front of the library, and leave it only when
window and transport take them, as many capsules in one frame as there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from h2 import events as h2_events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from edge.io.http2.frames import FRAME_LIMIT, PREFACE, Abuse, FrameGuard, Goaway
from edge.io.http2.liveness import Fate, Liveness
from edge.io.http2.settings import Counters, Timing
from edge.io.http2.stream import LARGEST_DATAGRAM, Stream
from edge.io.http2.tls import TlsChannel, TlsFailed
from edge.proto.masque.carrier import (
    QUEUE_LIMIT,
    REASON_LIMIT,
    CarrierClosed,
    CarrierEvent,
    CarrierReady,
    DataReceived,
    Headers,
    HttpVersion,
    RequestReceived,
    ResponseReceived,
    StreamAborted,
    shown,
)
from edge.proto.masque.queue import DatagramQueue
from edge.proto.types import NEVER, Address, Deadline, DropReason

STREAMS_LIMIT = 16  # concurrent; a client needs one
HEADER_LIST_LIMIT = 16384
STREAM_WINDOW = 1 << 20  # 64 KiB, the default, would hold a tunnel to 10 Mbit/s at a round trip of 50 ms
CONNECTION_WINDOW = 4 << 20
UNWRITTEN_LIMIT = 128 << 10  # octets that the transport has not taken yet; from there on datagrams wait
UNWRITTEN_MOST = 512 << 10  # control frames may go further: to here
SILENT_LIMIT = 64 << 10  # octets of TLS that brought no HTTP: an honest handshake has a tenth of it


class Http2Connection:
    """A ``Carrier``. Who holds it: ``receive``, ``handle_timeout``, ``transmit``; it puts events into `events`.

    `mark` is called when there may be something to transmit.
    """

    def __init__(
        self,
        channel: TlsChannel,
        *,
        client: bool,
        peer: Address,
        timing: Timing,
        counters: Counters,
        events: list[CarrierEvent],
        mark: Callable[[Http2Connection], None],
        rng: Callable[[int], bytes],
        now: float,
    ) -> None:
        self.owner: Any = None
        self.armed_at = NEVER  # for who keeps the agenda
        self._channel = channel
        self._client = client
        self._peer = peer
        self._counters = counters
        self._events = events
        self._mark = mark
        self._rng = rng
        self._now = now
        self._life = Liveness(timing, patient=client, now=now)
        self._guard = FrameGuard(0 if client else PREFACE)
        self._streams: dict[int, Stream] = {}
        self._nowhere = DatagramQueue(QUEUE_LIMIT)  # where datagrams of unknown streams die
        self._goaway = bytearray()  # what h2 could not send without closing all
        self._closed = False
        self._draining = False  # no new streams; when the last one is gone, so is the connection
        self._drained_by_peer = False
        self._farewell: tuple[int | None, str] = (None, "")  # code and reason of the peer's GOAWAY
        self._silent = 0
        self._unwritten = 0

    @cached_property
    def _h2(self) -> H2Connection:
        """Made when TLS is there: most of those who flood a server with handshakes never get that far."""
        return _begin(self._client)

    # -- what it is --

    @property
    def version(self) -> HttpVersion:
        return HttpVersion.H2

    @property
    def peer(self) -> Address:
        return self._peer

    @property
    def server_name(self) -> str:
        return self._channel.server_name

    @property
    def peer_key(self) -> bytes | None:
        return self._channel.peer_key

    @property
    def closed(self) -> bool:
        """Nothing more will happen; what ``transmit`` gives then is the last."""
        return self._closed

    @property
    def half_open(self) -> bool:
        """A stranger still: the peer has not proven that it speaks HTTP/2 over TLS."""
        return not self._life.settled and not self._closed

    @property
    def shaking_hands(self) -> bool:
        """TLS is not established: what comes now costs signatures and key agreements."""
        return not self._channel.established and not self._closed

    # -- Carrier: what a session asks for --

    def request(self, headers: Headers) -> int:
        """Client: 0 from a connection that takes no request (any more), which no stream is."""
        h2 = self._h2
        if self._closed or self._draining or not self._life.settled:
            return 0
        extended = any(name == b":protocol" for name, _ in headers)
        if extended and not h2.remote_settings.enable_connect_protocol:
            # RFC 8441 section 3: it must not be sent then.
            self._counters.closed += 1
            self._die(False, None, "the server does not offer extended CONNECT")
            return 0
        number = h2.get_next_available_stream_id()
        if not self._try(lambda: h2.send_headers(number, headers)):
            return 0
        self._streams[number] = Stream(number, open_for_data=True)
        self._life.busy()
        return number

    def respond(self, stream: int, headers: Headers, *, end: bool = False) -> None:
        found = self._streams.get(stream)
        if found is None or found.open_for_data or found.ending:
            return
        if self._try(lambda: self._h2.send_headers(stream, headers, end_stream=end)):
            found.open_for_data = True
            if end:
                self._ended_here(found)

    def send_data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        found = self._streams.get(stream)
        if found is None or found.ending:
            return
        if not found.append(data):
            # It takes nothing, but goes on making us answer.
            self._abort(found, ErrorCodes.ENHANCE_YOUR_CALM)
            return
        found.ending = end
        self._mark(self)

    def send_datagrams(self, stream: int, payloads: list[bytes]) -> None:
        found = self._streams.get(stream)
        if found is None or found.ending:
            queue = self._nowhere if found is None else found.queue
            queue.drops[DropReason.TUNNEL_DOWN] += len(payloads)
            return
        found.queue.extend(payloads, LARGEST_DATAGRAM)
        self._mark(self)

    def datagram_room(self, stream: int) -> int:
        found = self._streams.get(stream)
        return 0 if found is None or found.ending else LARGEST_DATAGRAM

    def queue(self, stream: int) -> DatagramQueue:
        found = self._streams.get(stream)
        return self._nowhere if found is None else found.queue

    def waiting(self, stream: int) -> int:
        return len(self.queue(stream))

    def discard(self, stream: int) -> None:
        """What was begun has to be finished: the frames of one stream are one sequence of octets."""
        self.queue(stream).clear(DropReason.TUNNEL_DOWN)

    def end(self, stream: int) -> None:
        """What waits goes first."""
        self.send_data(stream, b"", end=True)

    def reset(self, stream: int, code: int) -> None:
        found = self._streams.get(stream)
        if found is not None:
            self._try(lambda: self._h2.reset_stream(stream, code))
            self._forget(found)

    def ping(self) -> None:
        if self._life.settled and self._life.ping():
            self._try(lambda: self._h2.ping(self._rng(8)))

    def close(self, code: int, reason: str = "", *, transport: bool = False) -> None:
        """What was ended before ends cleanly.

        With `transport`, TLS ends without a word of HTTP: after the handshake there is no alert left to send.
        """
        if not self._closed and self._channel.established and not transport:
            self._drain_streams([stream for stream in self._streams.values() if stream.ending])
        if not self._closed:
            self._counters.closed += 1
            self._die(False, code, reason, goaway=None if transport else code)

    def drain(self) -> None:
        """GOAWAY: no new streams, and the end when the last one is gone."""
        if self._closed or self._draining:
            return
        self._draining = True
        # By hand: for h2 nothing may follow, not even on streams that are open (RFC 9113 6.8).
        self._goaway += GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id).serialize()
        self._mark(self)
        self._finish_drained()

    # -- the transport's side --

    def receive(self, data: bytes, now: float) -> None:
        """Octets of TCP; empty: no more will come."""
        self._now = now
        if self._closed:
            return
        self._mark(self)
        if not data:
            self._gone("the connection ended")
            return
        self._life.heard(now)
        channel = self._channel
        known = channel.established
        try:
            plain = channel.receive(data)
        except TlsFailed as failed:
            self._counters.tls_failed += 1
            self._die(False, None, str(failed))
            return
        except (
            Exception
        ) as error:  # whatever a stranger's certificate makes of a library costs no other connection
            self._counters.tls_failed += 1
            self._die(False, None, f"TLS: {type(error).__name__}")
            return
        if channel.established and not known:
            self._counters.ready += 1
            if not self._client:
                self._events.append(CarrierReady(self))
        self._silent = 0 if plain else self._silent + len(data)
        if self._silent > SILENT_LIMIT:
            self._counters.flooded += 1
            self._die(False, None, "TLS without content", goaway=ErrorCodes.ENHANCE_YOUR_CALM)
        elif plain:
            self._read(plain)
        if channel.ended and not self._closed:
            self._gone("closed by the peer")

    def handle_timeout(self, now: float) -> None:
        self._now = now
        if self._closed:
            return
        fate = self._life.fate(now, self._unwritten)
        if fate is Fate.LATE:
            self._counters.late += 1
            self._die(False, None, "the handshake took too long")
        elif fate is Fate.DEAD:
            self._counters.dead += 1
            self._die(False, None, "no sign of life")
        elif fate is Fate.IDLE:
            self._counters.idle += 1
            self._die(False, ErrorCodes.NO_ERROR, "idle", goaway=ErrorCodes.NO_ERROR)
        elif fate is Fate.PING:
            self.ping()

    def deadline(self) -> Deadline:
        return Deadline(NEVER, "closed") if self._closed else self._life.deadline()

    def written(self, octets: int) -> None:
        """The transport has taken so much of what ``transmit`` gave."""
        self._unwritten -= octets
        self._life.took()
        self._mark(self)

    def transmit(self) -> bytes:
        """What is to be written now."""
        if not self._closed and self._channel.established:
            self._drain_streams(self._streams.values())
            try:
                self._flush()
            except TlsFailed as failed:
                self._counters.tls_failed += 1
                self._die(False, None, str(failed))
        data = self._channel.poll()
        self._unwritten += len(data)
        if self._unwritten > UNWRITTEN_MOST and not self._closed:
            self._counters.dead += 1
            self._die(False, None, "the peer takes nothing")
        return data

    def evict(self) -> None:
        """Somebody else gets its place."""
        if not self._closed:
            self._counters.evicted += 1
            self._die(False, None, "too many handshakes at once")

    # -- from the peer --

    def _read(self, plain: bytes) -> None:
        h2 = self._h2
        try:
            plain, goaways = self._guard.filter(plain, self._now)
            found = h2.receive_data(plain)
            answers = h2.data_to_send()
            if answers:
                self._channel.send(answers)
                self._guard.answered(answers)
        except Abuse as abuse:
            self._accuse(abuse)
            return
        except ProtocolError as error:
            # h2 has written the GOAWAY. Its message may quote a header, which may be a secret.
            self._counters.malformed += 1
            self._die(False, int(error.error_code), f"HTTP/2: {type(error).__name__}")
            return
        except Exception as error:  # whatever a stranger's octets make of a library costs no other connection
            self._counters.malformed += 1
            self._die(False, None, f"HTTP/2: {type(error).__name__}", goaway=ErrorCodes.INTERNAL_ERROR)
            return
        self._dispatch(found)
        for goaway in goaways:
            self._take_goaway(goaway)

    def _dispatch(self, found: list[h2_events.Event]) -> None:
        """Octets of one stream that came together are told together, and acknowledged at once: nobody keeps them."""
        octets: dict[int, list[bytes]] = {}
        for event in found:
            if isinstance(event, h2_events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.data:
                    octets.setdefault(event.stream_id, []).append(event.data)
            elif isinstance(event, h2_events.StreamEnded):
                self._data(event.stream_id, octets.pop(event.stream_id, []), ended=True)
            elif isinstance(event, h2_events.RequestReceived):
                self._requested(event)
            elif isinstance(event, h2_events.ResponseReceived):
                self._answered(event)
            elif isinstance(event, h2_events.StreamReset):
                self._data(event.stream_id, octets.pop(event.stream_id, []))
                self._was_reset(event)
            elif isinstance(event, h2_events.RemoteSettingsChanged) and not self._life.settled:
                self._life.settled = True
                if self._client:
                    self._events.append(CarrierReady(self))
        for number, parts in octets.items():
            self._data(number, parts)

    def _data(self, number: int, parts: list[bytes], *, ended: bool = False) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.ended_there or not (parts or ended):
            return
        self._events.append(DataReceived(self, number, b"".join(parts), ended))
        if ended:
            self._ended_there(stream)

    def _requested(self, event: h2_events.RequestReceived) -> None:
        number = event.stream_id
        if self._draining:
            self._try(lambda: self._h2.reset_stream(number, ErrorCodes.REFUSED_STREAM))
            return
        stream = self._streams[number] = Stream(number, open_for_data=False)
        self._life.busy()
        ended = event.stream_ended is not None
        self._events.append(RequestReceived(self, number, list(event.headers), ended))
        if ended:
            self._ended_there(stream)

    def _answered(self, event: h2_events.ResponseReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        ended = event.stream_ended is not None
        self._events.append(ResponseReceived(self, stream.number, list(event.headers), ended))
        if ended:
            self._ended_there(stream)

    def _was_reset(self, event: h2_events.StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._events.append(StreamAborted(self, stream.number, int(event.error_code)))
            self._forget(stream)

    def _take_goaway(self, goaway: Goaway) -> None:
        """RFC 9113 section 6.8: streams that are open may go on, unless it is an error."""
        if self._closed:
            return
        self._farewell = goaway.code, shown(goaway.debug[:REASON_LIMIT].decode("ascii", "replace"))
        if goaway.code != ErrorCodes.NO_ERROR:
            self._gone("closed by the peer")
            return
        self._draining = self._drained_by_peer = True
        if self._client:
            for stream in [s for s in self._streams.values() if s.number > goaway.last_stream]:
                self._events.append(StreamAborted(self, stream.number, ErrorCodes.REFUSED_STREAM))
                self._forget(stream)
        self._finish_drained()

    # -- to the peer --

    def _drain_streams(self, streams: Iterable[Stream]) -> None:
        """DATA frames, one of each stream in turn, while window and transport take them."""
        room = UNWRITTEN_LIMIT - self._unwritten
        turn = [stream for stream in streams if stream.has_work]
        while turn and room > 0:
            again: list[Stream] = []
            for stream in turn:
                try:
                    sent = self._send_frame(stream, room)
                except H2Error:  # for the library it is gone
                    self._abort(stream, ErrorCodes.STREAM_CLOSED)
                    continue
                room -= sent
                if sent and stream.has_work:
                    again.append(stream)
            turn = again

    def _send_frame(self, stream: Stream, room: int) -> int:
        """One DATA frame if there is window; returns its octets. H2Error if the library does not know the stream."""
        window = self._h2.local_flow_control_window(stream.number)
        data = stream.next_frame(min(window, room, self._h2.max_outbound_frame_size, FRAME_LIMIT))
        ends = stream.ending and not stream.has_data
        if data or ends:
            self._h2.send_data(stream.number, data, end_stream=ends)
            self._guard.sent(1)
        if ends:
            self._ended_here(stream)
        return len(data)

    def _flush(self) -> None:
        plain = self._h2.data_to_send()
        if self._goaway:
            plain += self._goaway
            self._goaway.clear()
        if plain:
            self._channel.send(plain)

    def _try(self, action: Callable[[], None]) -> bool:
        """Whether the library did it; on a stream or connection that is gone it does nothing."""
        if self._closed:
            return False
        try:
            action()
        except H2Error:
            return False
        self._mark(self)
        return True

    # -- the end of streams --

    def _ended_here(self, stream: Stream) -> None:
        stream.ending = stream.ended_here = True
        if stream.ended_there:
            self._forget(stream)
        else:
            self._note_idle()

    def _ended_there(self, stream: Stream) -> None:
        stream.ended_there = True
        if stream.ended_here:
            self._forget(stream)

    def _abort(self, stream: Stream, code: ErrorCodes) -> None:
        self._events.append(StreamAborted(self, stream.number, code))
        self.reset(stream.number, code)

    def _forget(self, stream: Stream) -> None:
        if self._streams.pop(stream.number, None) is not None:
            stream.close()
            self._note_idle()
            self._finish_drained()

    def _note_idle(self) -> None:
        if all(stream.ended_here for stream in self._streams.values()):
            self._life.idle(self._now)

    def _finish_drained(self) -> None:
        if self._draining and not self._streams and not self._closed:
            if self._drained_by_peer:
                self._gone("drained")
            else:
                self._counters.closed += 1
                self._die(False, ErrorCodes.NO_ERROR, "drained")

    # -- the end --

    def _gone(self, reason: str) -> None:
        self._counters.closed_by_peer += 1
        code, said = self._farewell
        self._die(True, code, said or reason)

    def _accuse(self, abuse: Abuse) -> None:
        if not self._closed:
            self._counters.flooded += 1
            self._die(False, int(abuse.code), f"HTTP/2: {abuse}", goaway=abuse.code)

    def _die(self, by_peer: bool, code: int | None, reason: str, *, goaway: int | None = None) -> None:
        """The last words, if the peer may still read them, and the last event. Counted by who calls."""
        self._mark(self)
        try:
            if self._channel.established:
                if goaway is not None:
                    self._h2.close_connection(
                        goaway, reason.encode("ascii", "replace")[:REASON_LIMIT] or None
                    )
                self._flush()
        except (H2Error, TlsFailed):
            pass  # it has said so already, or cannot be told
        self._closed = True
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        self._channel.close()
        self._events.append(CarrierClosed(self, by_peer, code, reason))


def _begin(client: bool) -> H2Connection:
    """What is said before anything else (RFC 9113 3.4), since clients wait for it, is in its buffer."""
    h2 = H2Connection(H2Configuration(client_side=client, header_encoding=None))
    values = {
        SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_LIMIT,
        SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST_LIMIT,
        SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    }
    if client:
        values[SettingCodes.ENABLE_PUSH] = 0
    else:
        values[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
    h2.local_settings = Settings(client=client, initial_values=values)
    h2.decoder.max_header_list_size = HEADER_LIST_LIMIT
    h2.initiate_connection()
    # No setting changes the window of the connection.
    h2.increment_flow_control_window(CONNECTION_WINDOW - h2.inbound_flow_control_window)
    return h2
