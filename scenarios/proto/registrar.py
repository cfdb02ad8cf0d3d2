"""Where users are: a registrar and its location service (RFC 3261 section 10.3)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from edge.proto.types import Address
from scenarios.proto.sip import Request, Response
from scenarios.proto.sip_uri import NameAddr, Uri
from scenarios.proto.timer_queue import TimerQueue

DEFAULT_EXPIRES = 3600
MIN_EXPIRES = 10
MAX_EXPIRES = 7200


@dataclass(frozen=True, slots=True)
class Binding:
    """A user's contact as registered, and where the REGISTER really came from."""

    contact: Uri
    source: Address
    registered_at: float
    expires_at: float
    call_id: str
    cseq: int


@dataclass(frozen=True, slots=True)
class Registered:
    """`refresh` is False for a new contact or a new source address."""

    user: str
    source: Address
    contact: str
    at: float
    refresh: bool


@dataclass(frozen=True, slots=True)
class Unregistered:
    user: str
    at: float
    expired: bool


RegistrarEvent: TypeAlias = Registered | Unregistered


class Registrar:
    """One contact per user: there is no forking, the latest registration wins."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}
        self.events: deque[RegistrarEvent] = deque(maxlen=10_000)
        self.timers: TimerQueue[str] = TimerQueue()

    def register(self, request: Request, user: str, source: Address, now: float, tag: str) -> Response:
        """Carry out an authenticated REGISTER; what to answer."""
        expires = self._expires(request)
        if request.any_contact and request.expires != 0:
            return request.reply(400, tag=tag)  # section 10.3 step 6
        if len(request.contacts) > 1:
            return request.reply(400, tag=tag, reason="One Contact Only")
        if 0 < expires < MIN_EXPIRES:
            reply = request.reply(423, tag=tag)
            reply.set("Min-Expires", str(MIN_EXPIRES))
            return reply
        old = self.bindings.get(user)
        changes = bool(request.contacts) or request.any_contact
        if changes and old is not None and old.call_id == request.call_id and request.cseq <= old.cseq:
            return request.reply(500, tag=tag)  # out of order (section 10.3 step 7)
        if changes and (expires == 0 or request.any_contact):
            self._remove(user, now, expired=False)
        elif changes:
            self._bind(user, request, source, min(expires, MAX_EXPIRES), now)
        reply = request.reply(200, tag=tag)
        binding = self.bindings.get(user)
        if binding is not None:
            left = str(max(0, round(binding.expires_at - now)))
            reply.contacts = [NameAddr(binding.contact).with_param("expires", left)]
        return reply

    @staticmethod
    def _expires(request: Request) -> int:
        text = request.contacts[0].param("expires") if request.contacts else None
        if text is not None:  # malformed counts as the default (section 20.10)
            return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else DEFAULT_EXPIRES
        return DEFAULT_EXPIRES if request.expires is None else request.expires

    def _bind(self, user: str, request: Request, source: Address, expires: int, now: float) -> None:
        contact = request.contacts[0].uri
        old = self.bindings.get(user)
        refresh = old is not None and old.contact.same(contact) and old.source == source
        self.bindings[user] = Binding(contact, source, now, now + expires, request.call_id, request.cseq)
        self.timers.set(user, now + expires)
        self.events.append(Registered(user, source, str(contact), now, refresh))

    def _remove(self, user: str, now: float, *, expired: bool) -> None:
        if self.bindings.pop(user, None) is not None:
            self.timers.cancel(user)
            self.events.append(Unregistered(user, now, expired))

    def find(self, user: str, now: float) -> Binding | None:
        binding = self.bindings.get(user)
        return binding if binding is not None and binding.expires_at > now else None

    def source_of(self, contact: Uri) -> Address | None:
        """Where the owner of a registered contact was seen."""
        user = self.bindings.get(contact.username)
        return user.source if user is not None and user.contact.same(contact) else None

    def handle_timeout(self, now: float) -> None:
        while (user := self.timers.pop_due(now)) is not None:
            self._remove(user, now, expired=True)
