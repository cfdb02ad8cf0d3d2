"""HTTP connections in memory, without TLS: both ends are carriers, and what one says is an event of the other."""

from __future__ import annotations

from typing import Any

from edge.proto.masque.capsule import encode_datagrams
from edge.proto.masque.carrier import (
    QUEUE_LIMIT,
    Carrier,
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
)
from edge.proto.masque.queue import DatagramQueue
from edge.proto.types import Address, DropReason

POP: Address = ("192.0.2.1", 443)
CLIENT: Address = ("198.51.100.7", 40000)
ROOM = 1318


class End:
    """One end of a connection: a ``Carrier``. `events` is what it is to be told, `closed` how it closed itself."""

    def __init__(
        self, version: HttpVersion, peer: Address, server_name: str = "", peer_key: bytes | None = None
    ) -> None:
        self.owner: Any = None
        self.version = version
        self.peer = peer
        self.server_name = server_name
        self.peer_key = peer_key
        self.room = ROOM
        self.events: list[CarrierEvent] = []
        self.closed: tuple[int, str, bool] | None = None
        self.resets: dict[int, int] = {}
        self.pings = 0
        self.data: dict[int, bytes] = {}  # what was said on each stream, but datagrams
        self.alive = True
        self.far: End
        self._streams: dict[int, DatagramQueue] = {}
        self._ended: set[int] = set()  # our direction
        self._nowhere = DatagramQueue(QUEUE_LIMIT)

    def request(self, headers: Headers) -> int:
        number = 4 * len(self.data)
        self.data[number] = b""
        if self.alive:
            for end in (self, self.far):
                end._streams[number] = DatagramQueue(QUEUE_LIMIT)
            self.far.events.append(RequestReceived(self.far, number, headers))
        return number

    def respond(self, stream: int, headers: Headers, *, end: bool = False) -> None:
        if stream in self._streams:
            self.data[stream] = b""
            self.far.events.append(ResponseReceived(self.far, stream, headers, end))
            if end:
                self._forget(stream)

    def send_data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        if stream in self._streams and stream not in self._ended and (data or end):
            self.data[stream] += data
            self.far.events.append(DataReceived(self.far, stream, data, end))
            if end:
                self._ended.add(stream)
                self._streams[stream].clear(DropReason.TUNNEL_DOWN)

    def send_datagrams(self, stream: int, payloads: list[bytes]) -> None:
        queue = self.queue(stream)
        if stream in self._streams and stream not in self._ended:
            queue.extend(payloads, self.room)
        else:
            queue.drops[DropReason.TUNNEL_DOWN] += len(payloads)

    def datagram_room(self, stream: int) -> int:
        return self.room if stream in self._streams else 0

    def queue(self, stream: int) -> DatagramQueue:
        return self._streams.get(stream, self._nowhere)

    def waiting(self, stream: int) -> int:
        return len(self.queue(stream))

    def discard(self, stream: int) -> None:
        self.queue(stream).clear(DropReason.TUNNEL_DOWN)

    def end(self, stream: int) -> None:
        self.send_data(stream, b"", end=True)

    def reset(self, stream: int, code: int) -> None:
        if stream in self._streams:
            self.resets[stream] = code
            self._forget(stream)
            self.far.abort(stream, code)

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str = "", *, transport: bool = False) -> None:
        if self.alive:
            self.closed = (code, reason, transport)
            for end in (self, self.far):
                end.die(code, reason, by_peer=end is self.far, transport=transport)

    # -- for tests: what happens to a connection --

    def abort(self, stream: int, code: int = 0x10C) -> None:
        """The other end wants no more of a stream."""
        self._forget(stream)
        self.events.append(StreamAborted(self, stream, code))

    def die(
        self, code: int | None = None, reason: str = "", *, by_peer: bool = False, transport: bool = False
    ) -> None:
        """Nothing more comes or goes, as after an idle timeout."""
        self.alive = False
        for stream in list(self._streams):
            self._forget(stream)
        self.events.append(CarrierClosed(self, by_peer, code, reason, transport))

    def move(self, to: Address) -> None:
        before, self.peer = self.peer, to
        self.events.append(PeerMoved(self, before))

    def flush(self, most: int = QUEUE_LIMIT) -> int:
        """Let datagrams go that wait, of each stream at most so many; returns how many went."""
        went = 0
        for stream, queue in self._streams.items():
            payloads = queue.take(most)
            went += len(payloads)
            if payloads and self.version is HttpVersion.H3:
                self.far.events.append(DatagramsReceived(self.far, stream, payloads))
            elif payloads:
                self.far.events.append(DataReceived(self.far, stream, encode_datagrams(payloads)))
        return went

    def poll_events(self) -> list[CarrierEvent]:
        events, self.events = self.events, []
        return events

    def _forget(self, stream: int) -> None:
        queue = self._streams.pop(stream, None)
        if queue is not None:
            queue.clear(DropReason.TUNNEL_DOWN)


def connection(
    version: HttpVersion = HttpVersion.H3,
    *,
    server_name: str = "pop.example",
    peer_key: bytes | None = None,
    client: Address = CLIENT,
) -> tuple[End, End]:
    """(client's end, server's end), their handshake done."""
    near, far = End(version, POP), End(version, client, server_name, peer_key)
    near.far, far.far = far, near
    for end in (near, far):
        end.events.append(CarrierReady(end))
    return near, far


def is_carrier(end: End) -> Carrier:
    """For the type checker: it is one."""
    return end
