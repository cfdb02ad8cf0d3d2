"""Session descriptions (RFC 8866) and the offer/answer model (RFC 3264) for one audio stream of G.711."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address

from edge.proto.types import Address, BadPacket, DropReason

CONTENT_TYPE = "application/sdp"
MAX_BODY = 8192
MAX_LINES = 256
MAX_MEDIA = 16

CODECS = {"PCMU": 0, "PCMA": 8}
"""The static payload types of RFC 3551 that we speak."""
TELEPHONE_EVENT = 101

_NAMES = {number: name for name, number in CODECS.items()}
_LINE = re.compile(r"([a-z])=([^\r\n\x00]*+)")
_ORIGIN = re.compile(r"(\S++) ([0-9]{1,20}) ([0-9]{1,20}) IN (?:IP4|IP6) (\S++)")
_CONNECTION = re.compile(r"IN (IP[46]) ([0-9A-Fa-f.:]++)(?:/[0-9/]++)?+")
_MEDIA = re.compile(r"([a-z]{1,16}) ([0-9]{1,5})(?:/[0-9]{1,5})?+ ([A-Za-z0-9/]++)((?: [!-~]++)++)")
_RTPMAP = re.compile(r"([0-9]{1,3}) ([A-Za-z0-9\-_.]++)/([0-9]{1,6})(?:/[0-9]{1,3})?+")
_PTIME = re.compile(r"[0-9]{1,4}")


class Direction(StrEnum):
    """Who sends, from the point of view of the side that wrote it."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def mirrored(self) -> Direction:
        """The same stream seen from the other side."""
        return Direction.of(sends=self.receives, receives=self.sends)


_DIRECTIONS = {str(direction): direction for direction in Direction}


@dataclass(frozen=True, slots=True)
class MediaLine:
    """One m= section."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    address: str = ""
    direction: Direction = Direction.SENDRECV
    rtpmaps: tuple[tuple[int, str, int], ...] = ()  # payload type, encoding name, clock rate
    ptime: int | None = None

    @property
    def is_audio(self) -> bool:
        return self.kind == "audio" and self.protocol == "RTP/AVP" and self.port > 0

    @property
    def codecs(self) -> tuple[str, ...]:
        """What of it we speak, in the writer's order of preference. An rtpmap must not contradict RFC 3551."""
        mapped = {number: (name.upper(), rate) for number, name, rate in self.rtpmaps}
        return tuple(
            name
            for number, name in (
                (int(text), _NAMES.get(int(text), "")) for text in self.formats if text.isdigit()
            )
            if name and mapped.get(number, (name, 8000)) == (name, 8000)
        )

    @property
    def telephone_event(self) -> int | None:
        """The payload type of DTMF events (RFC 4733), if any."""
        return next(
            (
                n
                for n, name, _ in self.rtpmaps
                if name.lower() == "telephone-event" and str(n) in self.formats
            ),
            None,
        )


@dataclass(frozen=True, slots=True)
class Description:
    """A session description: what one side sends and where it wants to receive."""

    session_id: int
    version: int
    address: str
    media: tuple[MediaLine, ...]
    user: str = "-"

    @property
    def audio(self) -> MediaLine | None:
        return next((line for line in self.media if line.is_audio), None)

    @property
    def receiver(self) -> Address | None:
        """Where the writer wants its audio; None for no audio."""
        audio = self.audio
        return None if audio is None else (audio.address or self.address, audio.port)

    def encode(self) -> bytes:
        lines = [
            "v=0",
            f"o={self.user} {self.session_id} {self.version} {_network(self.address)}",
            "s=-",
            f"c={_network(self.address)}",
            "t=0 0",
        ]
        for media in self.media:
            lines.append(f"m={media.kind} {media.port} {media.protocol} {' '.join(media.formats)}")
            if media.address and media.address != self.address:
                lines.append(f"c={_network(media.address)}")
            lines += [f"a=rtpmap:{number} {name}/{rate}" for number, name, rate in media.rtpmaps]
            if media.port and media.telephone_event is not None:
                lines.append(f"a=fmtp:{media.telephone_event} 0-15")
            if media.ptime is not None:
                lines.append(f"a=ptime:{media.ptime}")
            if media.port:
                lines.append(f"a={media.direction}")
        return ("\r\n".join(lines) + "\r\n").encode()  # a user's name may be any UTF-8 (RFC 8866 section 9)


def _network(address: str) -> str:
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides settled on, from our point of view."""

    codec: str
    local: Address
    remote: Address
    direction: Direction
    telephone_event: int | None = None

    @property
    def payload_type(self) -> int:
        return CODECS[self.codec]


def offer(
    local: Address,
    codecs: tuple[str, ...],
    *,
    session_id: int,
    version: int = 1,
    direction: Direction = Direction.SENDRECV,
) -> Description:
    """An offer of one audio stream, the first codec preferred."""
    media = _audio_line(local[1], codecs, direction, TELEPHONE_EVENT)
    return Description(session_id, version, local[0], (media,))


def _audio_line(port: int, codecs: tuple[str, ...], direction: Direction, dtmf: int | None) -> MediaLine:
    rtpmaps = [(CODECS[name], name, 8000) for name in codecs]
    if dtmf is not None:
        rtpmaps.append((dtmf, "telephone-event", 8000))
    formats = tuple(str(number) for number, _, _ in rtpmaps)
    return MediaLine("audio", port, "RTP/AVP", formats, "", direction, tuple(rtpmaps), 20)


def answer(
    offered: Description,
    local: Address,
    codecs: tuple[str, ...],
    *,
    session_id: int,
    version: int = 1,
    direction: Direction = Direction.SENDRECV,
) -> tuple[Description, Agreement] | None:
    """Answer an offer (RFC 3264 section 6); None if there is no codec in common.

    `direction` is what we are willing to do; the answer never exceeds what the offer allows. Every m= line is
    answered in its place, those that we do not take with port 0.
    """
    chosen = offered.audio
    shared = [name for name in chosen.codecs if name in codecs] if chosen else []
    if chosen is None or not shared:
        return None
    allowed = chosen.direction.mirrored
    settled = Direction.of(
        sends=allowed.sends and direction.sends, receives=allowed.receives and direction.receives
    )
    line = _audio_line(local[1], (shared[0],), settled, chosen.telephone_event)
    media = tuple(
        line if entry is chosen else MediaLine(entry.kind, 0, entry.protocol, entry.formats)
        for entry in offered.media
    )
    remote = (chosen.address or offered.address, chosen.port)
    agreed = Agreement(shared[0], local, remote, _held(settled, remote), chosen.telephone_event)
    return Description(session_id, version, local[0], media), agreed


def accept(offered: Description, answered: Description) -> Agreement | None:
    """What an answer to our own offer settles; None if it takes no audio or breaks the rules."""
    mine, theirs = offered.audio, answered.audio
    local, remote = offered.receiver, answered.receiver
    if mine is None or theirs is None or local is None or remote is None:
        return None
    codec = next((name for name in theirs.codecs if name in mine.codecs), None)
    if codec is None:
        return None
    direction = Direction.of(
        sends=mine.direction.sends and theirs.direction.receives,
        receives=mine.direction.receives and theirs.direction.sends,
    )
    return Agreement(codec, local, remote, _held(direction, remote), theirs.telephone_event)


def _held(direction: Direction, remote: Address) -> Direction:
    """An address of zeros asks that nothing be sent (RFC 2543 hold, RFC 3264 section 8.4)."""
    if ip_address(remote[0]).is_unspecified:
        return Direction.of(sends=False, receives=direction.receives)
    return direction


def _bad(what: str) -> BadPacket:
    return BadPacket(DropReason.BAD_HEADER, f"SDP {what}")


def _connection_untrusted(value: str) -> str:
    match = _CONNECTION.fullmatch(value)
    if match is None:
        raise _bad("c= line")
    try:
        address = ip_address(match[2])
    except ValueError:
        raise _bad("address") from None
    if address.version != int(match[1][2]) or address.is_multicast:
        raise _bad("address family")
    return str(address)


def _media_untrusted(value: str, direction: Direction) -> MediaLine:
    match = _MEDIA.fullmatch(value)
    if match is None or int(match[2]) > 65535:
        raise _bad("m= line")
    formats = tuple(match[4].split())
    if len(formats) > 64 or any(text.isdigit() and (len(text) > 3 or not text.isascii()) for text in formats):
        raise _bad("formats")
    return MediaLine(match[1], int(match[2]), match[3], formats, direction=direction)


def _attribute_untrusted(media: MediaLine, value: str) -> MediaLine:
    name, _, rest = value.partition(":")
    if name in _DIRECTIONS:
        return replace(media, direction=_DIRECTIONS[name])
    if name == "rtpmap" and (match := _RTPMAP.fullmatch(rest)):
        return replace(media, rtpmaps=(*media.rtpmaps, (int(match[1]), match[2], int(match[3]))))
    if name == "rtpmap":
        raise _bad("rtpmap")
    if name == "ptime" and _PTIME.fullmatch(rest):
        return replace(media, ptime=int(rest))
    return media


def description_untrusted(body: bytes) -> Description:
    """Read a session description; raises BadPacket. Lines that we do not need are skipped (RFC 8866 section 5)."""
    if len(body) > MAX_BODY:
        raise BadPacket(DropReason.BAD_LENGTH, "SDP too long")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("not UTF-8") from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) > MAX_LINES:
        raise BadPacket(DropReason.BAD_LENGTH, "SDP with too many lines")
    if lines[0] != "v=0":
        raise _bad("version")
    origin: re.Match[str] | None = None
    address, direction = "", Direction.SENDRECV
    media: list[MediaLine] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise _bad("line")
        kind, value = match[1], match[2]
        if kind == "o" and not media:
            origin = _ORIGIN.fullmatch(value)
        elif kind == "m":
            if len(media) == MAX_MEDIA:
                raise BadPacket(DropReason.BAD_LENGTH, "SDP with too many media")
            media.append(_media_untrusted(value, direction))
        elif kind == "c" and media:
            media[-1] = replace(media[-1], address=_connection_untrusted(value))
        elif kind == "c":
            address = _connection_untrusted(value)
        elif kind == "a" and media:
            media[-1] = _attribute_untrusted(media[-1], value)
        elif kind == "a":
            direction = _DIRECTIONS.get(value, direction)
    if origin is None:
        raise _bad("o= line")
    if any(line.port and not (line.address or address) for line in media):
        raise _bad("without address")
    return Description(int(origin[2]), int(origin[3]), address, tuple(media), origin[1])
