"""The phone's side of a registration (RFC 3261 section 10.2): REGISTER with digest, refresh at half life, back off."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from edge.proto.types import NEVER, Address
from scenarios.proto.dialog import MAX_FORWARDS
from scenarios.proto.digest import Credentials, Rng
from scenarios.proto.sip import Request, Response, printable
from scenarios.proto.sip_uri import NameAddr, Uri
from scenarios.proto.transaction import Transaction
from scenarios.proto.transaction_layer import TransactionLayer

MAX_ATTEMPTS = 3
MAX_BACK_OFF = 64.0


class RegistrationState(StrEnum):
    UNREGISTERED = "unregistered"
    REGISTERING = "registering"
    REGISTERED = "registered"
    REFUSED = "refused"  # wrong password or unknown user: trying again would not help


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """`status` is the response that changed it, 408 if none came."""

    user: str
    state: RegistrationState
    status: int
    reason: str
    at: float


class Registration:
    """Keeps one contact registered for one user. Call-ID stays the same, CSeq grows (section 10.2.4)."""

    def __init__(
        self,
        layer: TransactionLayer,
        user: str,
        contact: Uri,
        registrar: Address,
        credentials: Credentials,
        rng: Rng,
    ) -> None:
        host = f"[{registrar[0]}]" if ":" in registrar[0] else registrar[0]
        self.state = RegistrationState.UNREGISTERED
        self.registered_at: float | None = None
        self.expires_at: float | None = None
        self.status: int | None = None
        self.address_of_record = Uri(host, user)
        self._layer = layer
        self._contact = contact
        self._registrar = registrar
        self._credentials = credentials
        self._rng = rng
        self._uri = Uri(host, port=None if registrar[1] == 5060 else registrar[1])
        self._tag = ""
        self._call_id = ""
        self._cseq = 0
        self._expires = 3600
        self._attempts = 0
        self._failures = 0
        self._transaction: Transaction | None = None
        self.wake = NEVER
        """When ``handle_timeout`` is wanted."""
        self.events: deque[RegistrationChanged] = deque(maxlen=100)

    def start(self, now: float, expires: int = 3600) -> None:
        """Register, or with `expires` 0 take the registration back."""
        self._expires = expires
        self._attempts = 0
        if self.state is not RegistrationState.REGISTERED:
            self.state = RegistrationState.REGISTERING
        self._send(now)

    def _send(self, now: float) -> None:
        if not self._call_id:
            self._tag, self._call_id = self._layer.token(), f"{self._layer.token()}@{self._layer.address[0]}"
        self._cseq += 1
        request = Request(
            uri=self._uri,
            vias=[],
            from_=NameAddr(self.address_of_record).with_param("tag", self._tag),
            to=NameAddr(self.address_of_record),
            call_id=self._call_id,
            cseq=self._cseq,
            method="REGISTER",
            contacts=[NameAddr(self._contact)],
            max_forwards=MAX_FORWARDS,
            expires=self._expires,
        )
        self._credentials.sign(request)
        self.wake = NEVER
        self._transaction = self._layer.request(request, self._registrar, now, owner=self)

    def handle_response(self, transaction: Transaction, response: Response, now: float) -> None:
        if transaction is not self._transaction or response.status < 200:
            return
        self._transaction = None
        if response.status in (401, 407):
            self._attempts += 1
            if self._attempts <= MAX_ATTEMPTS and self._credentials.challenged(transaction.request, response):
                self._send(now)
                return
        if response.status == 423 and self._longer(response):
            self._attempts += 1
            self._send(now)
        elif response.status < 300:
            self._registered(response, now)
        elif response.status in (401, 403, 404, 407):
            self._change(RegistrationState.REFUSED, response.status, response.reason, now)
        else:
            self._try_later(response.status, response.reason, now)

    def _longer(self, response: Response) -> bool:
        """Take the registrar's minimum (section 10.2.8); never for a registration that is taken back."""
        if not self._expires or self._attempts >= MAX_ATTEMPTS:
            return False
        text = response.header("Min-Expires")
        if not (text.isascii() and text.isdigit() and len(text) <= 6) or int(text) <= self._expires:
            return False
        self._expires = int(text)
        return True

    def _registered(self, response: Response, now: float) -> None:
        self._failures = self._attempts = 0
        if self._expires == 0:
            self.registered_at = self.expires_at = None
            self._change(RegistrationState.UNREGISTERED, response.status, response.reason, now)
            return
        granted = self._granted(response)
        if self.registered_at is None:
            self.registered_at = now
        self.expires_at = now + granted
        self.wake = now + granted / 2
        self._change(RegistrationState.REGISTERED, response.status, response.reason, now)

    def _granted(self, response: Response) -> float:
        for contact in response.contacts:
            text = contact.param("expires") or ""
            if contact.uri.same(self._contact) and text.isascii() and text.isdigit() and 0 < len(text) <= 9:
                return float(max(1, int(text)))
        return float(max(1, self._expires if response.expires is None else response.expires))

    def handle_timed_out(self, transaction: Transaction, now: float) -> None:
        if transaction is self._transaction:
            self._transaction = None
            self._try_later(408, "no answer", now)

    def _try_later(self, status: int, reason: str, now: float) -> None:
        self._failures += 1
        wait = min(2.0**self._failures, MAX_BACK_OFF)
        self.wake = now + wait * (0.5 + 0.5 * self._rng.random()) if self._expires else NEVER
        if self.expires_at is None or self.expires_at <= now:
            self.registered_at = self.expires_at = None
            state = RegistrationState.REGISTERING if self._expires else RegistrationState.UNREGISTERED
            self._change(state, status, reason, now)

    def _change(self, state: RegistrationState, status: int, reason: str, now: float) -> None:
        changed = state is not self.state or state is not RegistrationState.REGISTERED
        self.state, self.status = state, status
        if state is RegistrationState.REFUSED:
            self.registered_at = self.expires_at = None
        if changed:
            user = self.address_of_record.username
            self.events.append(RegistrationChanged(user, state, status, printable(reason), now))

    def poll_timeout(self) -> float:
        return self.wake

    def handle_timeout(self, now: float) -> None:
        if self.wake <= now:
            self._attempts = 0
            self._send(now)
