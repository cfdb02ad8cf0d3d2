"""A PBX on a simulated host: registrar, proxy, and a user agent of its own that echoes and dials."""

from __future__ import annotations

from typing import TypeAlias

from edge.proto.types import Address
from scenarios.proto.audio import Echo, MediaSource, Tone
from scenarios.proto.call import Call, CallEvent, MediaFactory, Taker
from scenarios.proto.digest import Authenticator, Outcome, Rng
from scenarios.proto.proxy import MAX_CALLS, Forwarding, ProxiedCall, Proxy, ProxyEvent
from scenarios.proto.registrar import Binding, Registrar, RegistrarEvent
from scenarios.proto.sdp import CODECS
from scenarios.proto.sip import Request
from scenarios.proto.sip_uri import SIP_PORT, NameAddr, Uri
from scenarios.proto.softphone import media_with
from scenarios.proto.transaction_layer import RequestIn, ResponseIn, TimedOut, TransactionLayer
from scenarios.proto.user_agent import RING_TIMEOUT, UserAgent

PbxEvent: TypeAlias = RegistrarEvent | ProxyEvent | CallEvent


class Pbx:
    """An application (`host.App`). Strangers get stateless challenges and cost no memory."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        realm: str,
        users: dict[str, str],
        rng: Rng,
        echo_extension: str | None = "600",
        sip_port: int = SIP_PORT,
        rtp_port_base: int = 16384,
        max_calls: int = MAX_CALLS,
        max_own_calls: int = 256,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        media_factory: MediaFactory | None = None,
    ) -> None:
        host = f"[{address}]" if ":" in address else address
        self.name = name
        self.realm = realm
        self._sip_port = sip_port
        self._host = host
        self._users = frozenset(users)
        self._echo = echo_extension
        self._layer = TransactionLayer((address, sip_port), rng)
        self._authenticator = Authenticator(realm, users, rng, algorithms=algorithms)
        self._registrar = Registrar()
        self._proxy = Proxy(self._layer, self._registrar.source_of, max_calls=max_calls)
        self._agent = UserAgent(
            self._layer,
            Uri(host, echo_extension or "", sip_port),
            codecs=tuple(CODECS),
            rtp_port_base=rtp_port_base,
            max_calls=max_own_calls,
            rng=rng,
            media_factory=media_factory or media_with(rng),
        )

    # What its operator sees and does

    @property
    def registrations(self) -> dict[str, Binding]:
        return self._registrar.bindings

    @property
    def proxied(self) -> list[ProxiedCall]:
        """Calls between users that are under way."""
        return list(self._proxy.calls.values())

    @property
    def calls(self) -> list[Call]:
        """Calls that end at the PBX itself: echo, and those that it dialled."""
        return self._agent.calls

    @property
    def transactions(self) -> int:
        """Open SIP transactions."""
        return self._layer.open

    @property
    def dropped(self) -> dict[str, int]:
        """SIP datagrams dropped, by reason."""
        return {str(reason): number for reason, number in self._layer.dropped.items()}

    def dial(
        self,
        from_ext: str,
        to_user: str,
        now: float,
        *,
        hold: float | None = None,
        ring_timeout: float = RING_TIMEOUT,
        source: MediaSource | None = None,
    ) -> Call:
        """Call a registered user from the PBX (server-initiated). For an unregistered one the call fails at once."""
        binding = self._registrar.find(to_user, now)
        return self._agent.call(
            binding.contact if binding else Uri(self._host, to_user),
            NameAddr(Uri(self._host, from_ext)),
            binding.source if binding else None,
            source or Tone(),
            now,
            hold=hold,
            ring_timeout=ring_timeout,
            pinned=True,
        )

    # An application on a host

    @property
    def ports(self) -> tuple[int, ...]:
        return (self._sip_port, *self._agent.media.ports)

    def wants(self, port: int) -> bool:
        return port == self._sip_port or self._agent.media.wants(port)

    def handle_datagram(self, local_port: int, source: Address, data: bytes, now: float) -> None:
        if local_port != self._sip_port:
            self._agent.media.receive(local_port, source, data, now)
            return
        self._layer.receive(source, data, now)
        self._settle(now)

    def taker(self, port: int) -> Taker | None:
        return self._agent.media.taker(port)

    def handle_timeout(self, now: float) -> None:
        self._layer.handle_timeout(now)
        self._settle(now)
        self._registrar.handle_timeout(now)
        self._proxy.handle_timeout(now)
        self._agent.handle_timeout(now)
        self._settle(now)

    def poll_timeout(self) -> float:
        return min(
            self._layer.timers.due,
            self._registrar.timers.due,
            self._proxy.timers.due,
            self._agent.poll_timeout(),
        )

    def poll_transmit(self) -> list[tuple[int, Address, bytes]]:
        out = [(self._sip_port, peer, data) for peer, data in self._layer.poll_transmit()]
        return out + self._agent.media.poll_transmit()

    def poll_event(self) -> PbxEvent | None:
        if self._registrar.events:
            return self._registrar.events.popleft()
        if self._proxy.events:
            return self._proxy.events.popleft()
        return self._agent.poll_event()

    def _settle(self, now: float) -> None:
        while (event := self._layer.poll_event()) is not None:
            if isinstance(event, RequestIn):
                self._request(event.request, event.source, now)
            else:
                self._outcome(event, now)

    def _outcome(self, event: ResponseIn | TimedOut, now: float) -> None:
        transaction, owner = event.transaction, event.transaction.owner
        if isinstance(owner, Forwarding):
            if isinstance(event, ResponseIn):
                self._proxy.handle_response(owner, event.response, now)
            else:
                self._proxy.handle_timed_out(owner, transaction, now)
        elif isinstance(event, ResponseIn):
            self._agent.handle_response(transaction, event.response, now)
        else:
            self._agent.handle_timed_out(transaction, now)

    def _request(self, request: Request, source: Address, now: float) -> None:
        if request.method == "CANCEL":
            self._cancel(request, source, now)
        elif request.to.tag:
            self._in_dialog(request, source, now)
        elif request.method == "ACK":
            return  # of a failure that we answered statelessly
        elif request.method == "REGISTER":
            self._register(request, source, now)
        elif request.method == "OPTIONS" and not request.uri.user and request.uri.is_sip:
            self._agent.handle_request(request, source, Tone(), now)
        else:
            self._new(request, source, now)

    def _cancel(self, request: Request, source: Address, now: float) -> None:
        invite = self._layer.cancelled(request)
        if invite is not None and isinstance(invite.owner, Forwarding):
            self._proxy.cancel(request, invite.owner, now)
        else:
            self._agent.handle_request(request, source, Tone(), now)

    def _in_dialog(self, request: Request, source: Address, now: float) -> None:
        if self._agent.has_dialog(request):
            self._agent.handle_request(request, source, Tone(), now)
            return
        call = self._proxy.known(request)
        status = self._proxy.refusal(request) if call is not None else 481
        if not status:
            self._proxy.relay(request, now, call=call)
        elif request.method != "ACK":
            self._turn_away(request, status)

    def _turn_away(self, request: Request, status: int) -> None:
        """Answer without a transaction."""
        self._layer.reply(request, request.reply(status))

    def _refuse(self, request: Request, status: int, now: float) -> None:
        """Answer someone who has proved who they are, reliably."""
        transaction = self._layer.accept(request, now)
        if transaction is not None:
            self._layer.respond(transaction, request.reply(status, tag=self._layer.token()), now)

    def _authenticated(self, request: Request, user: str, *, proxy: bool, now: float) -> bool:
        """Whether `request` is proved to be from `user`; if not it has been answered, statelessly.

        A wrong password, an unknown user and somebody else's name get the same 403, so that names cannot be tried.
        """
        header, status = ("Proxy-Authorization", 407) if proxy else ("Authorization", 401)
        outcome, name = self._authenticator.judge(request, header, now)
        if outcome is Outcome.OK and name == user:
            return True
        if outcome in (Outcome.OK, Outcome.WRONG):
            self._turn_away(request, 403)
        else:
            reply = request.reply(status)
            self._authenticator.challenge(reply, now, stale=outcome is Outcome.STALE)
            self._layer.reply(request, reply)
        return False

    def _register(self, request: Request, source: Address, now: float) -> None:
        user = request.to.uri.username
        if not self._authenticated(request, user, proxy=False, now=now):
            return
        if request.tokens("Require"):
            self._refuse(request, 420, now)
            return
        transaction = self._layer.accept(request, now)
        if transaction is not None:
            reply = self._registrar.register(request, user, source, now, self._layer.token())
            self._layer.respond(transaction, reply, now)

    def _new(self, request: Request, source: Address, now: float) -> None:
        """A request outside any dialog: to us, to a user, or to nobody."""
        status = self._proxy.refusal(request)
        if status:
            self._turn_away(request, status)
            return
        if not self._authenticated(request, request.from_.uri.username, proxy=True, now=now):
            return
        user = request.uri.username
        binding = self._registrar.find(user, now)
        if request.uri.address[0] not in (self._layer.address[0], self.realm.lower()):
            self._refuse(request, 404, now)  # not our domain, and we relay for nobody
        elif self._echo is not None and user == self._echo:
            self._agent.handle_request(request, source, Echo(), now, answer_after=0.0, pinned=True)
        elif user not in self._users:
            self._refuse(request, 404, now)
        elif binding is None:
            self._refuse(request, 480, now)
        elif request.method != "INVITE":
            self._proxy.relay(request, now, call=None, target=binding.contact)
        elif not self._proxy.invite(request, binding.contact, binding.source, user, now):
            self._refuse(request, 503, now)
