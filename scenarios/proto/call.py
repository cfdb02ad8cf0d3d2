"""A voice call as one of its two ends sees it, and what is said about calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from edge.proto.types import Address
from scenarios.proto.audio import MediaSource
from scenarios.proto.dialog import Dialog
from scenarios.proto.judgement import DirectionQuality
from scenarios.proto.sdp import Agreement, Description
from scenarios.proto.segments import joined
from scenarios.proto.sip import Request, Response
from scenarios.proto.transaction import Transaction


class CallState(StrEnum):
    DIALING = "dialing"
    RINGING = "ringing"
    ANSWERED = "answered"  # the callee has sent its 2xx and waits for the ACK
    CONFIRMED = "confirmed"
    ENDED = "ended"  # was confirmed, and a BYE or a loss of signalling ended it
    CANCELLED = "cancelled"  # the caller gave up first
    FAILED = "failed"  # refused, or nobody was there

    @property
    def over(self) -> bool:
        return self in (CallState.ENDED, CallState.CANCELLED, CallState.FAILED)


class Role(StrEnum):
    CALLER = "caller"
    CALLEE = "callee"

    @property
    def other(self) -> Role:
        return Role.CALLEE if self is Role.CALLER else Role.CALLER


Taker: TypeAlias = Callable[[Address, bytes | bytearray, int, float], bool]
"""The short way of a datagram into a session: source, packet, where in it the payload begins, now.

False, with nothing done, if the datagram has to go the long way.
"""


class Media(Protocol):
    """What a call needs of a media session (`media.MediaSession`)."""

    def set_remote(self, remote: Address) -> None: ...
    def set_direction(self, *, send: bool, receive: bool, now: float) -> None: ...
    def take(self, source: Address, packet: bytes | bytearray, at: int, now: float) -> bool: ...
    def handle_rtp(self, source: Address, data: bytes, now: float) -> None: ...
    def handle_rtcp(self, source: Address, data: bytes, now: float) -> None: ...
    def poll_transmit(self) -> list[tuple[int, Address, bytes]]: ...
    def handle_timeout(self, now: float) -> None: ...
    def poll_timeout(self) -> float: ...
    def stop(self, now: float) -> None: ...
    def report(self, now: float) -> DirectionQuality: ...


MediaFactory: TypeAlias = Callable[[Agreement, MediaSource, float], Media | None]
"""Agreement, what to play, now -> a running session, or None for signalling without media."""


class Control(Protocol):
    """What a call asks of the user agent that it belongs to."""

    def answer(self, call: Call, now: float) -> None: ...
    def hangup(self, call: Call, now: float) -> None: ...
    def reinvite(self, call: Call, now: float, *, hold: bool | None = None) -> bool: ...


@dataclass(slots=True)
class Signalling:
    """What the user agent keeps about a call; not for anyone else."""

    peer: Address  # where the first request went to or came from
    pinned: bool = False  # send everything there, whatever Contact says
    cancel_sent: bool = False
    attempts: int = 0
    bye_attempts: int = 0
    hangup_after: float | None = None
    hangup_wanted: bool = False
    invite: Request | None = None
    transaction: Transaction | None = None  # the INVITE transaction that is open, client or server
    dialog: Dialog | None = None
    session_id: int = 0
    sdp_version: int = 1
    offer: Description | None = None  # ours while it waits for an answer; the caller's while we ring
    offered_by_us: bool = False  # the answer to our offer comes in the ACK
    agreement: Agreement | None = None
    unacknowledged: Response | None = None  # our 2xx
    resend_interval: float = 0.0
    acks: dict[int, Request] = field(default_factory=dict)  # by CSeq: a repeated 2xx gets its ACK again
    hold_wanted: bool = False  # by the re-INVITE under way


@dataclass(slots=True, eq=False)
class Call:
    """Times are None until they happen. `local` and `remote` are URIs; `remote_media` is what the peer signalled."""

    id: str
    role: Role
    local: str
    remote: str
    source: MediaSource = field(repr=False)
    control: Control = field(repr=False)
    signalling: Signalling = field(repr=False)
    started_at: float
    state: CallState = CallState.DIALING
    ringing_at: float | None = None
    confirmed_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""  # "caller", "callee" or "timeout"
    cancelling: bool = False
    status: int | None = None  # the final status code if the call failed or was cancelled
    reason: str = ""
    local_media: Address | None = None
    remote_media: Address | None = None
    on_hold: bool = False  # we hold
    held: bool = False  # the peer holds
    reinvites: int = 0  # completed, by either side
    media: Media | None = field(default=None, repr=False)
    media_from: float = 0.0  # when `media` began
    heard_from: float | None = None  # when the first session of media did
    heard_before: DirectionQuality | None = field(default=None, repr=False)  # by sessions with other codecs

    @property
    def setup_time(self) -> float | None:
        """From the INVITE to the ACK, as this end saw them."""
        return None if self.confirmed_at is None else self.confirmed_at - self.started_at

    @property
    def duration(self) -> float | None:
        if self.confirmed_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.confirmed_at

    def answer(self, now: float) -> None:
        """Pick up (callee, while ringing)."""
        self.control.answer(self, now)

    def hangup(self, now: float) -> None:
        """BYE; before the answer CANCEL (caller) or decline (callee)."""
        self.control.hangup(self, now)

    cancel = hangup

    def reinvite(self, now: float, *, hold: bool | None = None) -> bool:
        """Offer the session anew; with `hold` put on hold or resume. False if one is under way already."""
        return self.control.reinvite(self, now, hold=hold)

    def hold(self, now: float) -> bool:
        return self.control.reinvite(self, now, hold=True)

    def resume(self, now: float) -> bool:
        return self.control.reinvite(self, now, hold=False)

    def quality(self, now: float) -> DirectionQuality | None:
        """What this end heard until `now` or the end of the call; None without media."""
        present = None if self.media is None else self.media.report(now)
        before = self.heard_before
        if before is None or present is None or self.heard_from is None:
            return present or before
        return joined(before, present, self.media_from - self.heard_from)

    def begin_media(self, media: Media | None, now: float) -> None:
        """A session for what was agreed on; what an earlier one heard stays part of the call."""
        self.heard_before = self.quality(now)
        self.media = media
        self.media_from = now
        if self.heard_from is None and media is not None:
            self.heard_from = now


@dataclass(frozen=True, slots=True)
class IncomingCall:
    call: Call
    at: float


@dataclass(frozen=True, slots=True)
class CallRinging:
    call: Call
    at: float


@dataclass(frozen=True, slots=True)
class CallConfirmed:
    call: Call
    at: float


@dataclass(frozen=True, slots=True)
class CallChanged:
    """A re-INVITE was completed (hold, resume, new media address) or, with a status, refused."""

    call: Call
    at: float
    status: int = 200


@dataclass(frozen=True, slots=True)
class CallOver:
    """The call ended, was cancelled or failed: `call.state`, `call.ended_by`, `call.status` say how."""

    call: Call
    at: float


@dataclass(frozen=True, slots=True)
class CallRefused:
    """An INVITE was turned away before it became a call."""

    caller: str
    status: int
    at: float


@dataclass(frozen=True, slots=True)
class OptionsAnswered:
    """The answer to an OPTIONS of ours; status 408 if none came."""

    target: str
    status: int
    at: float


CallEvent: TypeAlias = (
    IncomingCall | CallRinging | CallConfirmed | CallChanged | CallOver | CallRefused | OptionsAnswered
)


def media_free(_agreement: Agreement, _source: MediaSource, _now: float) -> Media | None:
    """A media factory for signalling without media."""
    return None


__all__ = [
    "Call",
    "CallChanged",
    "CallConfirmed",
    "CallEvent",
    "CallOver",
    "CallRefused",
    "CallRinging",
    "CallState",
    "Control",
    "IncomingCall",
    "Media",
    "MediaFactory",
    "OptionsAnswered",
    "Role",
    "Signalling",
    "Taker",
    "media_free",
]
