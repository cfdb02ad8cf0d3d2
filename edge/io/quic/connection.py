"""One HTTP/3 connection as sessions see it (a ``Carrier``), whatever QUIC library carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.io.quic.backend import (
    BackendConnection,
    BodyReceived,
    CidIssued,
    CidRetired,
    Closed,
    Established,
    FieldsReceived,
    SettingsReceived,
    StreamGone,
)
from edge.proto.ip.ratelimit import RateLimit
from edge.proto.masque.carrier import (
    QUEUE_LIMIT,
    CarrierClosed,
    CarrierEvent,
    CarrierReady,
    DatagramsReceived,
    DataReceived,
    Headers,
    HttpVersion,
    PeerMoved,
    RequestReceived,
    ResponseReceived,
    StreamAborted,
    shown,
)
from edge.proto.masque.queue import DatagramQueue
from edge.proto.types import NEVER, Address, DropReason

H3_NO_ERROR = 0x100
H3_INTERNAL_ERROR = 0x102
H3_EXCESSIVE_LOAD = 0x107
H3_SETTINGS_ERROR = 0x109
H3_REQUEST_CANCELLED = 0x10C
NO_ERROR = 0x0  # of QUIC, as the next
INTERNAL_ERROR = 0x1

UNSENT_LIMIT = 256 << 10  # octets of streams that the peer does not take or acknowledge
STREAM_RATE, STREAM_BURST = 4.0, 64.0  # requests of one connection
RESET_RATE, RESET_BURST = 1.0, 16.0  # streams of one connection that its peer aborts
MIN_TIMER = 0.001  # a library that wants to be called again at once is called a little later


class _Stream:
    """A request stream that has not ended in both directions."""

    __slots__ = ("answered", "heard", "hearing", "prefix", "queue", "sending")

    def __init__(self, number: int) -> None:
        self.prefix = quarter_stream_id(number)
        self.queue = DatagramQueue(QUEUE_LIMIT)
        self.heard = False  # headers of the peer, final ones
        self.answered = False  # headers of ours have been sent
        self.hearing = self.sending = True


class Connection:
    """See ``Carrier``. The endpoint that owns it feeds it bytes and time, and takes what it sends.

    `touch` is told whenever there may be something to send. `unused`: seconds that a client may go without a request
    that is not refused; signs of life do not help it then.
    """

    def __init__(
        self,
        backend: BackendConnection,
        *,
        client: bool,
        now: float,
        handshake_timeout: float,
        keepalive: float | None,
        unused: float = NEVER,
        events: list[CarrierEvent],
        touch: Callable[[Connection], None],
    ) -> None:
        self.owner: Any = None
        self.cids: dict[bytes, None] = {backend.cid: None}
        """Ours, by which datagrams find this connection."""
        self.issued, self.retired = [backend.cid], list[bytes]()
        """How `cids` has changed since the endpoint last looked."""
        self.established = False
        self.ending: Closed | None = None
        """How it ended; only the last datagrams are still to be flushed."""
        self.failed = False
        self._silent = False  # the backend is not asked for anything any more
        self.armed_at = NEVER
        self.moves = 0
        self._backend = backend
        self._client = client
        self._ready = False
        self._handshake_by = now + handshake_timeout
        self._keepalive = NEVER if keepalive is None else keepalive
        self._heard_at = now
        self._unused = unused
        self._unused_since: float | None = now
        self._now = now
        self._events = events
        self._touch = touch
        self._streams: dict[int, _Stream] = {}
        self._waiting: dict[int, _Stream] = {}  # streams whose queue is not empty, in the order of service
        self._nowhere = DatagramQueue(QUEUE_LIMIT)  # where datagrams of unknown streams die
        self._peer: Address | None = backend.peer if client else None
        self._room = 0  # of a frame, when the last were fed
        self._opens = RateLimit(STREAM_RATE, STREAM_BURST)
        self._resets = RateLimit(RESET_RATE, RESET_BURST)

    # -- as a carrier --

    @property
    def version(self) -> HttpVersion:
        return HttpVersion.H3

    @property
    def peer(self) -> Address:
        return self._peer or self._backend.peer

    @property
    def server_name(self) -> str:
        return self._backend.server_name

    @property
    def peer_key(self) -> bytes | None:
        return self._backend.peer_key

    def request(self, headers: Headers) -> int:
        number = self._backend.open_stream()
        if self._alive():
            stream = self._streams[number] = _Stream(number)
            self._backend.send_headers(number, headers, False)
            stream.answered = True
            self._touch(self)
        return number

    def respond(self, stream: int, headers: Headers, *, end: bool = False) -> None:
        state = self._streams.get(stream)
        if state is None or state.answered or not self._alive():
            return
        state.answered = True
        self._backend.send_headers(stream, headers, end)
        self._touch(self)
        if end:
            self._sent_all(stream, state)

    def send_data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        state = self._streams.get(stream)
        if state is None or not state.sending or not state.answered or not self._alive():
            return
        self._backend.send_data(stream, data, end)
        if self._backend.unsent() > UNSENT_LIMIT:
            self.close(H3_EXCESSIVE_LOAD, "does not take what it is sent")
            return
        self._touch(self)
        if end:
            self._sent_all(stream, state)

    def send_datagrams(self, stream: int, payloads: list[bytes]) -> None:
        state = self._streams.get(stream)
        if state is None or not state.sending or self.ending is not None:
            self.queue(stream).drops[DropReason.TUNNEL_DOWN] += len(payloads)
            return
        state.queue.extend(payloads, self.datagram_room(stream))
        if len(state.queue):
            self._waiting[stream] = state
            self._touch(self)

    def datagram_room(self, stream: int) -> int:
        state = self._streams.get(stream)
        return max(0, self._backend.frame_room() - len(state.prefix)) if state is not None else 0

    def queue(self, stream: int) -> DatagramQueue:
        state = self._streams.get(stream)
        return self._nowhere if state is None else state.queue

    def waiting(self, stream: int) -> int:
        state = self._streams.get(stream)
        return 0 if state is None else len(state.queue) + self._backend.fed_with(state.prefix)

    def discard(self, stream: int) -> None:
        state = self._streams.get(stream)
        if state is not None:
            self._discard(stream, state)

    def end(self, stream: int) -> None:
        state = self._streams.get(stream)
        if state is not None and not state.answered:
            self.reset(stream, H3_INTERNAL_ERROR)  # a response has to begin before it can end
        else:
            self.send_data(stream, b"", end=True)

    def reset(self, stream: int, code: int) -> None:
        if stream in self._streams and self._alive():
            self._backend.abandon(stream, code)
            self._forget(stream)
            self._touch(self)

    def ping(self) -> None:
        if self._alive():
            self._backend.ping()
            self._touch(self)

    def close(self, code: int, reason: str = "", *, transport: bool = False) -> None:
        if self._alive():
            self._backend.close(code, reason, transport=transport)
            self._touch(self)
            self._end(Closed(False, code, transport, reason))

    # -- for the endpoint --

    @property
    def begun(self) -> bool:
        """Whether anything authentic has come."""
        return self._backend.begun

    def add_cid(self, cid: bytes) -> None:
        self.cids[cid] = None
        self.issued.append(cid)

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        self._heard_at = now
        self._backend.receive(datagram, source, now)

    def process(self, now: float) -> None:
        """After all of a turn was received: what has happened becomes events."""
        self._now = now
        if not self._alive():
            return
        for event in self._backend.events():
            self._happened(event, now)
            if not self._alive():
                return
        if datagrams := self._backend.datagrams():
            self._deliver(datagrams)
        self._follow()
        if (closed := self._backend.closed) is not None:
            self._end(closed)

    def may_wait(self, now: float) -> bool:
        """Whether a flush can be put off to the deadline, as only an acknowledgment would leave."""
        return not self._waiting and self.ending is None and self._backend.can_wait()

    def transmit(self, now: float) -> list[tuple[bytes, Address]]:
        """Datagrams to send now. What streams have goes before what waits in queues."""
        backend, waiting = self._backend, self._waiting
        if self._silent:
            return []
        if not waiting:
            return backend.flush(now)
        if self._room > (room := backend.frame_room()) and (unfit := backend.shrink()):
            self._nowhere.drops[DropReason.TOO_BIG] += unfit
        self._room = room
        sent = backend.flush(now) if backend.streams_wait() else []
        while waiting and (budget := backend.budget(now)):
            self._feed(budget)
            fresh = backend.flush(now)
            sent += fresh
            if backend.fed or not fresh:
                return sent
        return sent or backend.flush(now)

    def deadline(self, now: float) -> float:
        """When ``handle_timer`` is due."""
        at = self._backend.timer()
        if not self.established:
            at = min(at, self._handshake_by)
        else:
            at = min(at, self._heard_at + self._keepalive, self._useless_at())
        return at if at > now else now + MIN_TIMER

    def handle_timer(self, now: float) -> None:
        if not self.established and now >= self._handshake_by:
            self._backend.close(NO_ERROR, "", transport=True)
            self._silent = (
                not self._client
            )  # which may have sent three times what it got, and must not send more
            self._end(Closed(False, None, True, "handshake timeout"))
            return
        self._now = now
        if self.established and now >= self._useless_at():
            self.close(H3_NO_ERROR, "asks for nothing")
            return
        if self.established and now >= self._heard_at + self._keepalive:
            self._heard_at = now  # of the question; the answer comes or the idle timeout does
            self._backend.ping()
        if now >= self._backend.timer():
            self._backend.handle_timer(now)

    def flushed(self) -> None:
        """After a flush: connection ids may have been issued, or a limit may have closed the connection."""
        if self._alive():
            for event in self._backend.events():
                self._happened(event, self._heard_at)
            if self._alive() and (closed := self._backend.closed) is not None:
                self._end(closed)

    def move(self) -> None:
        """Client: our address has changed."""
        self._backend.change_cid()
        self.ping()

    def fail(self, reason: str) -> None:
        """The library has failed on this connection; it is not asked anything any more."""
        self.failed = self._silent = True
        self._end(Closed(False, INTERNAL_ERROR, True, reason))

    # -- what happened --

    def _happened(self, event: object, now: float) -> None:
        match event:
            case FieldsReceived(stream, headers, ended):
                self._fields(stream, headers, ended, now)
            case BodyReceived(stream, data, ended):
                self._body(stream, data, ended)
            case StreamGone(stream, code, unwanted):
                state = self._streams.get(stream)
                if unwanted and code == H3_NO_ERROR and self._client and state and not state.heard:
                    # RFC 9114 section 4.1: it answers without the rest of the request, and the answer must be heard.
                    self._sent_all(stream, state)
                else:
                    self._aborted(stream, code, now)
            case CidIssued(cid):
                self.add_cid(cid)
            case CidRetired(cid):
                self.cids.pop(cid, None)
                self.retired.append(cid)
            case Established():
                self.established = True
                self._unused_since = now
                if not self._client:
                    self._events.append(CarrierReady(self))
            case SettingsReceived(datagrams, extended_connect):
                if self._client and not (datagrams and extended_connect):
                    self.close(H3_SETTINGS_ERROR, "no CONNECT-IP here")
                elif self._client:
                    self._events.append(CarrierReady(self))

    def _fields(self, stream: int, headers: Headers, ended: bool, now: float) -> None:
        state = self._streams.get(stream)
        if state is None:
            if self._client or not self._opened(now):
                return
            state = self._streams[stream] = _Stream(stream)
            self._unused_since = None
        if state.heard:  # trailers, which nobody wants
            self._body(stream, b"", ended)
            return
        if self._client:
            if dict(headers)[b":status"][:1] == b"1":
                return
            self._events.append(ResponseReceived(self, stream, headers, ended))
        else:
            self._events.append(RequestReceived(self, stream, headers, ended))
        state.heard = True
        if ended:
            self._heard_all(stream, state)

    def _body(self, stream: int, data: bytes, ended: bool) -> None:
        state = self._streams.get(stream)
        if state is None or not (data or ended):
            return
        self._events.append(DataReceived(self, stream, data, ended))
        if ended:
            self._heard_all(stream, state)

    def _aborted(self, stream: int, code: int, now: float) -> None:
        """Half a tunnel is none: the other direction is aborted as well."""
        known = stream in self._streams
        if not known and not self._client and not self._opened(now):
            return
        self._backend.abandon(stream, H3_REQUEST_CANCELLED)
        if known:
            self._forget(stream)
            self._events.append(StreamAborted(self, stream, code))
        if not self._resets.allow(now):
            self.close(H3_EXCESSIVE_LOAD, "resets too many streams")

    def _opened(self, now: float) -> bool:
        """Whether the peer may open one more stream; if not, the connection is closed."""
        if self._opens.allow(now):
            return True
        self.close(H3_EXCESSIVE_LOAD, "opens too many streams")
        return False

    def _deliver(self, datagrams: list[bytes]) -> None:
        """Runs of one stream become one event; nearly always all are of the same."""
        first = datagrams[0][:1]
        if first and first < b"\x40" and all(d[:1] == first for d in datagrams):
            self._events.append(DatagramsReceived(self, first[0] * 4, [d[1:] for d in datagrams]))
            return
        runs: dict[int, list[bytes]] = {}
        for datagram in datagrams:
            size = 1 << (datagram[0] >> 6) if datagram else 9
            if len(datagram) < size:
                self.close(0x33, "datagram without a stream")  # H3_DATAGRAM_ERROR
                return
            quarter = int.from_bytes(datagram[:size]) & (1 << 8 * size - 2) - 1
            runs.setdefault(quarter * 4, []).append(datagram[size:])
        for stream, payloads in runs.items():
            self._events.append(DatagramsReceived(self, stream, payloads))

    def _follow(self) -> None:
        now_at = self._backend.peer
        if now_at != self._peer:
            before, self._peer = self._peer, now_at
            if before is not None:
                self.moves += 1
                self._events.append(PeerMoved(self, before))

    # -- ends --

    def _alive(self) -> bool:
        return self.ending is None

    def _heard_all(self, stream: int, state: _Stream) -> None:
        state.hearing = False
        if not state.sending:
            self._forget(stream)

    def _sent_all(self, stream: int, state: _Stream) -> None:
        """Datagrams must not outlive our direction of the stream (RFC 9297 section 2.1)."""
        state.sending = False
        self._discard(stream, state)
        if not state.hearing:
            self._forget(stream)
        self._note_unused()

    def _discard(self, stream: int, state: _Stream) -> None:
        """What waits in the queue dies, and what the library has not sent yet."""
        self._waiting.pop(stream, None)
        state.queue.clear(DropReason.TUNNEL_DOWN)
        if self._backend.fed and (taken := self._backend.take_back(state.prefix)):
            state.queue.drops[DropReason.TUNNEL_DOWN] += taken

    def _forget(self, stream: int) -> None:
        state = self._streams.pop(stream, None)
        if state is not None:
            self._discard(stream, state)
            self._note_unused()

    def _note_unused(self) -> None:
        if self._unused_since is None and not any(state.sending for state in self._streams.values()):
            self._unused_since = self._now

    def _useless_at(self) -> float:
        return NEVER if self._unused_since is None else self._unused_since + self._unused

    def _end(self, closed: Closed) -> None:
        if self.ending is not None:
            return
        self.ending = closed
        for stream in list(self._streams):
            self._forget(stream)
        if fed := self._backend.fed:
            self._nowhere.drops[DropReason.TUNNEL_DOWN] += fed
        if self.established or self._client:  # of others nobody has heard
            self._events.append(
                CarrierClosed(self, closed.by_peer, closed.code, shown(closed.reason), closed.transport)
            )

    def _feed(self, budget: int) -> None:
        """Give the library about as many datagrams as leave now, streams in turn."""
        count = -(-budget // (self._room or 1))
        while count > 0 and self._waiting:
            share = -(-count // len(self._waiting))
            for stream, state in list(self._waiting.items()):
                prefix = state.prefix
                taken = state.queue.take(share)
                self._backend.feed([prefix + payload for payload in taken])
                count -= len(taken)
                del self._waiting[stream]
                if len(state.queue):
                    self._waiting[stream] = state  # behind the others


def quarter_stream_id(stream: int) -> bytes:
    """What a datagram of the request stream begins with (RFC 9297 section 2.1), as RFC 9000 encodes integers."""
    value = stream // 4
    exponent = 0 if value < 0x40 else 1 if value < 0x4000 else 2 if value < 0x4000_0000 else 3
    size = 1 << exponent
    return (value | exponent << size * 8 - 2).to_bytes(size)
