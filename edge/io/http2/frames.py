"""What a peer may make us do: looks at frame headers (RFC 9113 section 4.1) before the HTTP/2 library sees them.

The library checks the protocol. It sets no limit on what is valid and yet abuse: it answers any number of PING and
SETTINGS, opens a stream for every HEADERS however soon it is reset (CVE-2023-44487), resets as often as it is made to
(CVE-2025-8671), buffers a frame of 16 MiB before it finds it too long, and a megabyte of CONTINUATION. And a GOAWAY
ends all for it, while a drained connection has to carry its streams to their end: so GOAWAY is taken out here.
"""

from __future__ import annotations

from dataclasses import dataclass

from h2.errors import ErrorCodes

PREFACE = 24  # octets before a client's first frame (RFC 9113 3.4)
HEADER = 9
FRAME_LIMIT = 16384  # SETTINGS_MAX_FRAME_SIZE that we announce, the default
BLOCK_LIMIT = 32768  # octets of one header block, compressed
CONTINUATIONS_LIMIT = 8  # of one header block

DATA, HEADERS, RST_STREAM, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x3, 0x7, 0x8, 0x9
END_STREAM = 0x1
TINY = 16  # octets of DATA that hold no packet


class Abuse(Exception):
    """The connection has to go; `code` is for the GOAWAY."""

    def __init__(self, code: ErrorCodes, what: str) -> None:
        super().__init__(what)
        self.code = code


@dataclass(frozen=True, slots=True)
class Goaway:
    """The peer will take no streams above `last_stream`."""

    last_stream: int
    code: int
    debug: bytes


class Budget:
    """A token bucket: `burst` at once, `rate` per second in the long run."""

    __slots__ = ("_at", "_burst", "_left", "_rate", "_what")

    def __init__(self, what: str, burst: float, rate: float) -> None:
        self._what = what
        self._burst = self._left = burst
        self._rate = rate
        self._at = 0.0

    def earn(self, amount: float) -> None:
        self._left = min(self._burst, self._left + amount)

    def spend(self, now: float) -> None:
        """Abuse if there is nothing left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        if self._left < 0:
            raise Abuse(ErrorCodes.ENHANCE_YOUR_CALM, f"too many {self._what}")


class FrameGuard:
    """Of one connection. `preface`: octets that precede the peer's first frame."""

    def __init__(self, preface: int) -> None:
        self._pass = preface  # octets of the present frame that are still to come
        self._header = b""  # of a frame, as far as it has come
        self._goaway: bytearray | None = None  # its payload so far, while one is coming in
        self._block = 0  # octets of the latest header block so far
        self._continuations = 0  # of it
        self._now = 0.0
        # An honest client opens a few streams, resets as many, and sends control frames now and then. Only window
        # updates come with the traffic: some peers answer every DATA frame with one for the stream and one for the
        # connection.
        self._requests = Budget("requests", 32, 0.5)
        self._resets = Budget("resets", 32, 0.5)
        self._control = Budget("control frames", 256, 32)
        self._windows = Budget("window updates", 1024, 64)
        # Some write the header of a capsule in a frame of its own.
        self._tiny = Budget("tiny frames", 1024, 64)

    def filter(self, data: bytes, now: float) -> tuple[bytes, list[Goaway]]:
        """What the library may see of `data`, and GOAWAY frames that were in it. Raises Abuse."""
        self._now = now
        goaways: list[Goaway] = []
        kept: list[bytes] = []
        position, size = 0, len(data)
        start = 0  # of what is kept and not yet in `kept`
        if self._header:
            data = self._header + data
            size, self._header = len(data), b""
        while position < size:
            if self._pass:
                step = min(self._pass, size - position)
                self._pass -= step
                if self._goaway is not None:
                    self._goaway += data[position : position + step]
                    start = position + step
                    if not self._pass:
                        goaways.append(_goaway(self._goaway))
                        self._goaway = None
                position += step
            if size - position < HEADER:
                self._header = data[position:]
                break
            length = int.from_bytes(data[position : position + 3])
            kind, flags = data[position + 3], data[position + 4]
            self._admit(kind, flags, length)
            self._pass = length
            if kind == GOAWAY:
                kept.append(data[start:position])
                self._goaway = bytearray()
                start = position + HEADER
            position += HEADER
        end = size - len(self._header)
        if not start and end == size:
            return data, goaways
        kept.append(data[start:end])
        return b"".join(kept), goaways

    def answered(self, data: bytes) -> None:
        """Whole frames with which the library has answered: resets that the peer has provoked. Raises Abuse."""
        position = 0
        while position < len(data):
            if data[position + 3] == RST_STREAM:
                self._resets.spend(self._now)
            position += HEADER + int.from_bytes(data[position : position + 3])

    def sent(self, frames: int) -> None:
        """So many DATA frames went out, which the peer will acknowledge."""
        self._windows.earn(2 * frames)

    def _admit(self, kind: int, flags: int, length: int) -> None:
        if length > FRAME_LIMIT:
            raise Abuse(ErrorCodes.FRAME_SIZE_ERROR, "a frame is longer than we allow")
        if kind == DATA:
            if length >= TINY:
                self._tiny.earn(2)
            elif length:
                self._tiny.spend(self._now)
            elif not flags & END_STREAM:
                self._control.spend(self._now)
        elif kind == HEADERS:
            self._requests.spend(self._now)
            self._block, self._continuations = length, 0
        elif kind == CONTINUATION:
            self._block += length
            self._continuations += 1
            if self._continuations > CONTINUATIONS_LIMIT or self._block > BLOCK_LIMIT:
                raise Abuse(ErrorCodes.ENHANCE_YOUR_CALM, "a header block without end")
        elif kind == WINDOW_UPDATE:
            self._windows.spend(self._now)
        elif kind == RST_STREAM:
            self._resets.spend(self._now)
        else:  # SETTINGS, PING, PRIORITY, GOAWAY, and what nobody knows
            self._control.spend(self._now)
            if kind == GOAWAY and length < 8:
                raise Abuse(ErrorCodes.FRAME_SIZE_ERROR, "GOAWAY is too short")


def _goaway(payload: bytearray) -> Goaway:
    """RFC 9113 section 6.8."""
    last = int.from_bytes(payload[:4]) & 0x7FFFFFFF
    return Goaway(last, int.from_bytes(payload[4:8]), bytes(payload[8:]))
