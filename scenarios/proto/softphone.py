"""A softphone on a simulated host: registers with its PBX, calls and is called."""

from __future__ import annotations

from edge.proto.types import Address, BadPacket
from scenarios.proto.audio import MediaSource, Tone
from scenarios.proto.call import Call, CallEvent, Media, MediaFactory, Taker
from scenarios.proto.digest import Credentials, Rng
from scenarios.proto.media import MediaSession
from scenarios.proto.quality import CODECS as CODEC_PROFILES
from scenarios.proto.quality import CodecProfile
from scenarios.proto.registration import Registration, RegistrationChanged, RegistrationState
from scenarios.proto.sdp import CODECS, Agreement
from scenarios.proto.sip import Request
from scenarios.proto.sip_uri import SIP_PORT, NameAddr, Uri, uri_untrusted
from scenarios.proto.transaction_layer import RequestIn, ResponseIn, TransactionLayer
from scenarios.proto.user_agent import RING_TIMEOUT, UserAgent


def media_with(rng: Rng, profile: CodecProfile = CODEC_PROFILES["G.711+PLC"]) -> MediaFactory:
    """Real RTP sessions; what they hear is judged as a decoder of `profile` would play it."""

    def start(agreement: Agreement, source: MediaSource, now: float) -> Media:
        return MediaSession(
            local=agreement.local,
            remote=agreement.remote,
            payload_type=agreement.payload_type,
            source=source,
            rng=rng,
            now=now,
            codec_profile=profile,
        )

    return start


class Softphone:
    """An application (`host.App`). `auto_answer_after` None lets it ring until someone calls `Call.answer`."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        registrar: Address,
        username: str,
        password: str,
        rng: Rng,
        rtp_port_base: int = 16384,
        sip_port: int = SIP_PORT,
        codec: str = "PCMU",
        auto_answer_after: float | None = 0.0,
        decline: bool = False,
        max_calls: int = 1,
        source: MediaSource | None = None,
        media_factory: MediaFactory | None = None,
    ) -> None:
        host = f"[{address}]" if ":" in address else address
        self.name = name
        self.auto_answer_after = auto_answer_after
        self.decline = decline
        self.source = source or Tone()
        self._sip_port = sip_port
        self._registrar = registrar
        self._layer = TransactionLayer((address, sip_port), rng)
        self._contact = Uri(host, username, sip_port)
        # Two sets: what the registrar challenged for must not travel to other users in an INVITE.
        registering, calling = (Credentials(username, password, rng) for _ in range(2))
        self.registration = Registration(self._layer, username, self._contact, registrar, registering, rng)
        self._caller = NameAddr(self.registration.address_of_record)
        # Both laws are offered, the configured one preferred: G.711 phones speak both.
        codecs = (codec, *(other for other in CODECS if other != codec))
        self._agent = UserAgent(
            self._layer,
            self._contact,
            codecs=codecs,
            rtp_port_base=rtp_port_base,
            max_calls=max_calls,
            rng=rng,
            media_factory=media_factory or media_with(rng),
            credentials=calling,
        )
        self._media = self._agent.media

    # What its user does

    @property
    def registered(self) -> bool:
        return self.registration.state is RegistrationState.REGISTERED

    @property
    def calls(self) -> list[Call]:
        return self._agent.calls

    @property
    def dropped(self) -> dict[str, int]:
        """SIP datagrams dropped, by reason."""
        return {str(reason): number for reason, number in self._layer.dropped.items()}

    def register(self, now: float, expires: int = 3600) -> None:
        self.registration.start(now, expires)

    def unregister(self, now: float) -> None:
        self.registration.start(now, 0)

    def call(
        self, target_uri: str, now: float, hold: float | None = None, *, ring_timeout: float = RING_TIMEOUT
    ) -> Call:
        """Dial a URI, or a bare extension at the registrar. `hold`: hang up that long after the answer."""
        return self._agent.call(
            self._target(target_uri),
            self._caller,
            self._registrar,
            self.source,
            now,
            hold=hold,
            ring_timeout=ring_timeout,
        )

    def options(self, target_uri: str, now: float) -> None:
        """Ask what the target can do; the answer is an event."""
        self._agent.options(self._target(target_uri), self._caller, self._registrar, now)

    def _target(self, text: str) -> Uri:
        if ":" not in text:
            return Uri(self.registration.address_of_record.host, text)
        try:
            return uri_untrusted(text)
        except BadPacket as bad:
            raise ValueError(str(bad)) from None

    # An application on a host

    @property
    def ports(self) -> tuple[int, ...]:
        return (self._sip_port, *self._agent.media.ports)

    def wants(self, port: int) -> bool:
        return port == self._sip_port or self._agent.media.wants(port)

    def handle_datagram(self, local_port: int, source: Address, data: bytes, now: float) -> None:
        if local_port != self._sip_port:
            self._media.receive(local_port, source, data, now)
            return
        self._layer.receive(source, data, now)
        self._settle(now)

    def taker(self, port: int) -> Taker | None:
        return self._media.taker(port)

    def handle_timeout(self, now: float) -> None:
        if self._layer.timers.due > now and self.registration.wake > now and self._agent.timers.due > now:
            self._media.handle_timeout(now)  # fifty times a second
            return
        self._layer.handle_timeout(now)
        self._settle(now)
        self.registration.handle_timeout(now)
        self._agent.handle_timeout(now)
        self._settle(now)

    def poll_timeout(self) -> float:
        wake = self._media.timers.due
        for at in (self._layer.timers.due, self.registration.wake, self._agent.timers.due):
            if at < wake:
                wake = at
        return wake

    def poll_transmit(self) -> list[tuple[int, Address, bytes]]:
        signalling, media = self._layer.poll_transmit(), self._media.poll_transmit()
        if not signalling:
            return media
        return [(self._sip_port, peer, data) for peer, data in signalling] + media

    def poll_event(self) -> CallEvent | RegistrationChanged | None:
        if self.registration.events:
            return self.registration.events.popleft()
        return self._agent.events.popleft() if self._agent.events else None

    def _settle(self, now: float) -> None:
        while (event := self._layer.poll_event()) is not None:
            if isinstance(event, RequestIn):
                self._request(event.request, event.source, now)
                continue
            transaction = event.transaction
            if transaction.owner is self.registration:
                if isinstance(event, ResponseIn):
                    self.registration.handle_response(transaction, event.response, now)
                else:
                    self.registration.handle_timed_out(transaction, now)
            elif isinstance(event, ResponseIn):
                self._agent.handle_response(transaction, event.response, now)
            else:
                self._agent.handle_timed_out(transaction, now)

    def _request(self, request: Request, source: Address, now: float) -> None:
        refusal = self._refusal(request)
        if refusal and request.method != "ACK":
            self._layer.reply(request, request.reply(refusal))
            return
        call = self._agent.handle_request(
            request, source, self.source, now, answer_after=None if self.decline else self.auto_answer_after
        )
        if call is not None and self.decline:
            self._agent.refuse(call, 603, now)

    def _refusal(self, request: Request) -> int:
        if not request.uri.is_sip:
            return 416
        if request.uri.user and request.uri.username != self._contact.username:
            return 404
        return 0
