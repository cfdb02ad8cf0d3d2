"""A SIP user agent core (RFC 3261 sections 8 and 13 to 15): phones have one, and so has the PBX."""

from __future__ import annotations

from edge.proto.types import Address
from scenarios.proto.audio import MediaSource
from scenarios.proto.call import Call, CallEvent, CallState, MediaFactory, OptionsAnswered, Role
from scenarios.proto.call_media import CallMedia
from scenarios.proto.call_table import (
    ALLOW,
    ANSWER,
    GIVE_UP,
    HANGUP,
    MAX_ATTEMPTS,
    RESEND,
    RETRY,
    RING,
    CallTable,
)
from scenarios.proto.dialog import MAX_FORWARDS, dialog_key
from scenarios.proto.digest import Credentials, Rng
from scenarios.proto.invite_client import InviteClient
from scenarios.proto.invite_server import InviteServer
from scenarios.proto.sdp import CONTENT_TYPE
from scenarios.proto.sip import Request, Response
from scenarios.proto.sip_uri import NameAddr, Uri
from scenarios.proto.transaction import Transaction
from scenarios.proto.transaction_layer import TransactionLayer

RING_TIMEOUT = 60.0


class UserAgent:
    """Sans-IO; the owner of the transaction layer passes on what is for us."""

    def __init__(
        self,
        layer: TransactionLayer,
        contact: Uri,
        *,
        codecs: tuple[str, ...],
        rtp_port_base: int,
        max_calls: int,
        rng: Rng,
        media_factory: MediaFactory,
        credentials: Credentials | None = None,
    ) -> None:
        # Twice the lines: the ports of a call that has just ended stay open for a while.
        media = CallMedia(layer.address[0], rtp_port_base, 2 * max_calls, media_factory)
        self.media = media
        self._table = table = CallTable(layer, media, contact, rng, codecs, max_calls, credentials)
        self.timers = table.timers  # of signalling; media has its own
        self.events = table.events
        self._client = InviteClient(table, self)
        self._server = InviteServer(table, self)

    @property
    def calls(self) -> list[Call]:
        """All calls that we know, the live ones last."""
        return [*self._table.over, *self._table.live]

    def poll_event(self) -> CallEvent | None:
        return self.events.popleft() if self.events else None

    # What the user does

    def call(
        self,
        target: Uri,
        caller: NameAddr,
        peer: Address | None,
        source: MediaSource,
        now: float,
        *,
        hold: float | None = None,
        ring_timeout: float = RING_TIMEOUT,
        pinned: bool = False,
    ) -> Call:
        """Dial `target` by way of `peer`; None for a callee who cannot be found.

        `hold` is the holding time: seconds from the answer until we hang up.
        """
        return self._client.start(
            target, caller, peer, source, now, hold=hold, ring_timeout=ring_timeout, pinned=pinned
        )

    def answer(self, call: Call, now: float) -> None:
        self._server.answer(call, now)

    def refuse(self, call: Call, status: int, now: float) -> None:
        """Turn a ringing call away."""
        if call.state is CallState.RINGING and call.role is Role.CALLEE:
            self._server.refuse(call, status, now, state=CallState.FAILED, by=str(Role.CALLEE))

    def hangup(self, call: Call, now: float) -> None:
        if call.state is CallState.CONFIRMED:
            self._table.end(call, now, by=str(call.role))
        elif call.state is CallState.ANSWERED:
            call.signalling.hangup_wanted = True  # section 15: a callee waits for the ACK
        elif call.role is Role.CALLEE:
            self.refuse(call, 603, now)
        elif not call.state.over:
            self._client.give_up(call, now)

    def reinvite(self, call: Call, now: float, *, hold: bool | None = None) -> bool:
        return self._client.reinvite(call, now, hold=hold)

    def options(self, target: Uri, caller: NameAddr, peer: Address, now: float) -> None:
        layer = self._table.layer
        request = Request(
            uri=target,
            vias=[],
            from_=caller.with_param("tag", layer.token()),
            to=NameAddr(target),
            call_id=f"{layer.token()}@{layer.address[0]}",
            cseq=1,
            method="OPTIONS",
            max_forwards=MAX_FORWARDS,
        )
        request.set("Accept", CONTENT_TYPE)
        if self._table.credentials is not None:
            self._table.credentials.sign(request)
        layer.request(request, peer, now, owner=self)

    # What the network does

    def has_dialog(self, request: Request) -> bool:
        return dialog_key(request, incoming=True) in self._table.dialogs

    def handle_request(
        self,
        request: Request,
        source: Address,
        media: MediaSource,
        now: float,
        *,
        answer_after: float | None = None,
        pinned: bool = False,
    ) -> Call | None:
        """A request for us; the new call if it started one."""
        if request.method == "CANCEL":
            self._cancel(request, now)
        elif request.to.tag:
            self._in_dialog(request, now)
        elif request.method == "INVITE":
            return self._server.receive(request, source, media, now, answer_after=answer_after, pinned=pinned)
        elif request.method == "OPTIONS":
            self._reply(request, 200)
        elif request.method == "BYE":
            self._reply(request, 481)
        elif request.method != "ACK":
            self._reply(request, 405)
        return None

    def _reply(self, request: Request, status: int) -> None:
        """Answer without a transaction: the same answer again if the request comes again."""
        reply = request.reply(status)
        if status in (200, 405):
            reply.set("Allow", ALLOW)
            reply.set("Accept", CONTENT_TYPE)
        self._table.layer.reply(request, reply)

    def _cancel(self, request: Request, now: float) -> None:
        invite = self._table.layer.cancelled(request)
        if invite is None:
            self._reply(request, 481)
        else:
            self._server.cancelled(request, invite, now)

    def _in_dialog(self, request: Request, now: float) -> None:
        call = self._table.dialogs.get(dialog_key(request, incoming=True))
        if request.method == "ACK":
            if call is not None:
                self._server.acknowledged(call, request, now)
        elif call is None:
            self._reply(request, 481)
        elif request.method == "INVITE":
            self._server.reinvited(call, request, now)
        elif request.method == "BYE":
            self._bye(call, request, now)
        else:
            self._reply(request, 200 if request.method == "OPTIONS" else 405)

    def _bye(self, call: Call, request: Request, now: float) -> None:
        dialog, layer = call.signalling.dialog, self._table.layer
        transaction = layer.accept(request, now)
        if transaction is None or dialog is None:
            return
        if not dialog.in_order(request):
            layer.respond(transaction, request.reply(500), now)
            return
        layer.respond(transaction, request.reply(200), now)
        if call.state is CallState.RINGING:  # a BYE to an early dialog (section 15.1.2)
            self._server.refuse(call, 487, now, state=CallState.CANCELLED, by=str(call.role.other))
        else:
            self._table.finish(call, CallState.ENDED, now, by=str(call.role.other))

    def handle_response(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response to a request of ours."""
        request = transaction.request
        if request.method == "OPTIONS":
            self._options_answered(transaction, response, now)
        call = transaction.owner
        if not isinstance(call, Call):
            return
        if request.method == "INVITE" and request.to.tag:
            self._client.receive_reinvite(call, transaction, response, now)
        elif request.method == "INVITE":
            self._client.receive(call, transaction, response, now)
        elif request.method == "BYE" and response.status in (401, 407):
            self._sign_bye(call, transaction, response, now)

    def _sign_bye(self, call: Call, transaction: Transaction, response: Response, now: float) -> None:
        credentials, request, signalling = self._table.credentials, transaction.request, call.signalling
        if credentials is None or signalling.bye_attempts >= MAX_ATTEMPTS:
            return
        signalling.bye_attempts += 1
        if credentials.challenged(request, response):
            again = request.again(request.cseq + 1)
            credentials.sign(again)
            self._table.layer.request(again, transaction.peer, now, owner=call)

    def _options_answered(self, transaction: Transaction, response: Response, now: float) -> None:
        credentials, request, layer = self._table.credentials, transaction.request, self._table.layer
        if response.status < 200:
            return
        retry = response.status in (401, 407) and request.cseq <= MAX_ATTEMPTS
        if retry and credentials is not None and credentials.challenged(request, response):
            again = request.again(request.cseq + 1)
            credentials.sign(again)
            layer.request(again, transaction.peer, now, owner=self)
            return
        self._table.events.append(OptionsAnswered(str(request.uri), response.status, now))

    def handle_timed_out(self, transaction: Transaction, now: float) -> None:
        """A transaction of ours ended without an answer."""
        request, call = transaction.request, transaction.owner
        if request.method == "OPTIONS" and transaction.is_client:
            self._table.events.append(OptionsAnswered(str(request.uri), 408, now))
        if not isinstance(call, Call) or not transaction.is_client or request.method != "INVITE":
            return
        if request.to.tag:
            call.signalling.transaction = None
            self._table.end(call, now, by="timeout")
        else:
            self._client.timed_out(call, now)

    # Time

    def poll_timeout(self) -> float:
        return min(self.timers.due, self.media.timers.due)

    def handle_timeout(self, now: float) -> None:
        self.media.handle_timeout(now)
        while (due := self.timers.pop_due(now)) is not None:
            self._fire(*due, now)

    def _fire(self, call: Call, timer: str, now: float) -> None:
        if timer == ANSWER:
            self._server.answer(call, now)
        elif timer == RESEND:
            self._server.resend(call, now)
        elif timer == HANGUP:
            self.hangup(call, now)
        elif timer == RETRY:
            if not self._client.reinvite(call, now, hold=call.signalling.hold_wanted):
                self._table.timers.set((call, RETRY), now + 1.0)  # theirs is not through yet
        elif timer == RING and call.role is Role.CALLER:
            self._client.give_up(call, now, "no answer")
        elif timer == RING:
            self._server.refuse(call, 480, now, state=CallState.FAILED, by="timeout")
        elif timer == GIVE_UP:  # no ACK of our 2xx (section 13.3.1.4)
            self._table.end(call, now, by="timeout", status=408)
