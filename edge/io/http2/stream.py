"""One stream of HTTP/2: what waits to go out on it, and which of its directions are finished."""

from __future__ import annotations

from edge.proto.masque.carrier import QUEUE_LIMIT
from edge.proto.masque.queue import DatagramQueue
from edge.proto.types import DropReason

LARGEST_DATAGRAM = 16381  # with type and length it fills a frame of 16,384 octets; MTUs are far below
CAPSULE_HEADER = 3  # type 0 and a length below 16,384
PENDING_LIMIT = 65536  # octets of capsules that wait for the peer's window


class Stream:
    """`open_for_data`: headers of our own are out, so DATA may follow."""

    __slots__ = ("_pending", "ended_here", "ended_there", "ending", "number", "open_for_data", "queue")

    def __init__(self, number: int, *, open_for_data: bool) -> None:
        self.number = number
        self.open_for_data = open_for_data
        self.queue = DatagramQueue(QUEUE_LIMIT)
        self.ending = False  # nothing more is accepted from above
        self.ended_here = False  # END_STREAM is out
        self.ended_there = False
        self._pending = bytearray()

    @property
    def has_data(self) -> bool:
        return bool(self._pending or self.queue)

    @property
    def has_work(self) -> bool:
        """Whether something is to be sent, if only the end."""
        return self.open_for_data and not self.ended_here and (self.ending or self.has_data)

    def append(self, data: bytes) -> bool:
        """Capsules, to go before all datagrams that wait. False if there is no room."""
        if len(self._pending) + len(data) > PENDING_LIMIT:
            return False
        self._pending += data
        return True

    def next_frame(self, limit: int) -> bytes:
        """Up to `limit` octets, capsules of the session first. A datagram that does not fit is begun only alone."""
        if limit <= 0:
            return b""
        pending = self._pending
        if not pending:
            taken = self.queue.take_octets(limit, CAPSULE_HEADER)
            if taken:
                return b"".join([part for payload in taken for part in (_header(len(payload)), payload)])
            # The window is smaller than one capsule; but for this it would never open.
            for payload in self.queue.take(1):
                pending += _header(len(payload)) + payload
        data = bytes(pending[:limit])
        del pending[:limit]
        return data

    def close(self) -> None:
        """It is gone, and with it what waits."""
        self.ending = self.ended_here = self.ended_there = True
        self._pending.clear()
        self.queue.clear(DropReason.TUNNEL_DOWN)


def _header(length: int) -> bytes:
    """Of a DATAGRAM capsule (RFC 9297 3.5): type 0, and the length as a variable-length integer (RFC 9000 16)."""
    if length < 64:
        return bytes((0, length))
    if length < 16384:
        return bytes((0, 0x40 | length >> 8, length & 0xFF))
    raise ValueError("longer than the largest datagram")
