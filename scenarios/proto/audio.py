"""What a simulated phone says: a tone, a recording, silence, or what it hears."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field
from math import gcd, pi, sin
from typing import Protocol

from edge.proto.types import BadPacket, DropReason
from scenarios.proto.g711 import Law

SAMPLE_RATE = 8000
_OVERLOAD_DBM0 = 3.14  # level of a full-scale sine in G.711 (A-law)
_ECHO_FRAMES = 10


class Player(Protocol):
    """One running source: a frame of octets for every tick."""

    listens: bool
    """Whether ``heard`` does anything."""

    def next_frame(self) -> bytes: ...

    def heard(self, payload: bytes) -> None:
        """Audio that came from the other side."""


class MediaSource(Protocol):
    """What to say; one source may serve many sessions."""

    def player(self, law: Law, samples: int) -> Player:
        """A player of frames of `samples` octets."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A sine of `frequency` Hz at `level` dBm0."""

    frequency: int = 400
    level: float = -10.0

    def __post_init__(self) -> None:
        if not 0 < self.frequency < SAMPLE_RATE // 2:
            raise ValueError(f"a tone of {self.frequency} Hz does not fit into 8000 samples per second")
        if self.level > _OVERLOAD_DBM0:
            raise ValueError(f"a tone of {self.level} dBm0 is above full scale ({_OVERLOAD_DBM0} dBm0)")

    def samples(self) -> list[int]:
        """The fewest whole periods that are a whole number of samples."""
        peak = 32767 * 10 ** ((self.level - _OVERLOAD_DBM0) / 20)
        step = 2 * pi * self.frequency / SAMPLE_RATE
        return [round(peak * sin(step * n)) for n in range(SAMPLE_RATE // gcd(self.frequency, SAMPLE_RATE))]

    def player(self, law: Law, samples: int) -> Player:
        return _Loop(law.encode(self.samples()), samples)


@dataclass(frozen=True, slots=True)
class Silence:
    """Digital silence: packets flow, nothing is to be heard."""

    def player(self, law: Law, samples: int) -> Player:
        return _Loop(bytes((law.silence,)), samples)


@dataclass(frozen=True, slots=True)
class Recording:
    """Linear samples at 8000 Hz, from the beginning again after the end unless `once`."""

    samples: array[int] = field(repr=False)
    once: bool = False

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def player(self, law: Law, samples: int) -> Player:
        octets = law.encode(self.samples)
        return _Once(octets, samples, law.silence) if self.once else _Loop(octets, samples)


@dataclass(frozen=True, slots=True)
class Echo:
    """Says what it hears, silence while it hears nothing."""

    def player(self, law: Law, samples: int) -> Player:
        return _Echo(bytes((law.silence,)) * samples)


class _Loop:
    listens = False

    def __init__(self, octets: bytes, samples: int) -> None:
        self._length = len(octets) or 1
        # Long enough that a frame may start anywhere in the first turn.
        self._octets = octets * (1 + -(-samples // self._length))
        self._samples = samples
        self._at = 0

    def next_frame(self) -> bytes:
        at = self._at
        self._at = (at + self._samples) % self._length
        return self._octets[at : at + self._samples]

    def heard(self, payload: bytes) -> None:
        """A loop does not listen."""


class _Once:
    listens = False

    def __init__(self, octets: bytes, samples: int, silence: int) -> None:
        self._octets = octets + bytes((silence,)) * (-len(octets) % samples)
        self._silence = bytes((silence,)) * samples
        self._samples = samples
        self._at = 0

    def next_frame(self) -> bytes:
        at = self._at
        if at >= len(self._octets):
            return self._silence
        self._at = at + self._samples
        return self._octets[at : self._at]

    def heard(self, payload: bytes) -> None:
        """A recording does not listen."""


class _Echo:
    listens = True

    def __init__(self, silence: bytes) -> None:
        self._silence = silence
        self._frames: deque[bytes] = deque(
            maxlen=_ECHO_FRAMES
        )  # what is not said in time is dropped, oldest first

    def next_frame(self) -> bytes:
        return self._frames.popleft() if self._frames else self._silence

    def heard(self, payload: bytes) -> None:
        # A frame of another length would change the packet time that was agreed on.
        if len(payload) == len(self._silence):
            self._frames.append(payload)


_PCM, _ALAW, _MULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_UNKNOWN_SIZE = 0xFFFFFFFF  # written by programs that stream a WAV file to a pipe


def parse_wav_untrusted(data: bytes) -> Recording:
    """The recording in a WAV file: mono, 8000 Hz, linear 8 or 16 bit, mu-law or A-law."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise BadPacket(DropReason.MALFORMED, "not a RIFF/WAVE file")
    layout: tuple[int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if name == b"data" and size == _UNKNOWN_SIZE:
            size = len(data) - at
        if at + size > len(data):
            raise BadPacket(DropReason.BAD_LENGTH, "a chunk runs past the end of the file")
        if name == b"fmt ":
            layout = _layout(data[at : at + size])
        elif name == b"data":
            if layout is None:
                raise BadPacket(DropReason.MALFORMED, "samples before their format")
            return Recording(_linear(data[at : at + size], *layout))
        at += size + size % 2  # chunks start at even offsets
    raise BadPacket(DropReason.MALFORMED, "no samples in the file")


def _layout(chunk: bytes) -> tuple[int, int]:
    """Encoding and bits per sample."""
    if len(chunk) < 16:
        raise BadPacket(DropReason.BAD_LENGTH, "format chunk too short")
    encoding, channels = int.from_bytes(chunk[:2], "little"), int.from_bytes(chunk[2:4], "little")
    rate, bits = int.from_bytes(chunk[4:8], "little"), int.from_bytes(chunk[14:16], "little")
    if encoding == _EXTENSIBLE:
        if len(chunk) < 26:
            raise BadPacket(DropReason.BAD_LENGTH, "extensible format chunk too short")
        encoding = int.from_bytes(chunk[24:26], "little")
    if channels != 1 or rate != SAMPLE_RATE:
        raise BadPacket(
            DropReason.MALFORMED, f"{channels} channels at {rate} Hz: a phone speaks one at 8000 Hz"
        )
    if (encoding, bits) not in ((_PCM, 8), (_PCM, 16), (_ALAW, 8), (_MULAW, 8)):
        raise BadPacket(
            DropReason.MALFORMED, f"encoding {encoding} with {bits} bits: want linear 8/16 or G.711"
        )
    return encoding, bits


def _linear(octets: bytes, encoding: int, bits: int) -> array[int]:
    if not octets or len(octets) % (bits // 8):
        raise BadPacket(DropReason.BAD_LENGTH, "no samples, or half of one")
    if encoding != _PCM:
        return array("h", (Law.A if encoding == _ALAW else Law.MU).decode(octets))
    if bits == 8:
        return array("h", [(octet - 128) << 8 for octet in octets])
    return array(
        "h", [int.from_bytes(octets[n : n + 2], "little", signed=True) for n in range(0, len(octets), 2)]
    )
